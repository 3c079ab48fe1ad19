{{/*
The spec of a pod. Arguments:
  root        the chart's root
  role        as `orchestrator topics acls` names it
  args        of the command line
  own         the values of the component
  config      the name of the ConfigMap with the configuration
  drain       the time of its drain; absent: a job
*/}}
{{- define "orchestrator.podSpec" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $own := .own -}}
{{- $postgres := has .role (list "sink" "dlq-index" "all" "serve" "migrate" "migrate-post") -}}
{{- $remembers := has .role (list "router" "all") -}}
{{- $kafkaSecret := dig "kafka" "existingSecret" $values.secrets.kafka.existingSecret $own -}}
{{- $dsnSecret := default $values.secrets.postgres.existingSecret $own.existingSecret -}}
{{- $folders := dict -}}
{{- if and $kafkaSecret (not (hasPrefix "migrate" .role)) -}}
{{- $_ := set $folders "kafka" $kafkaSecret -}}
{{- end -}}
{{- if eq .role "serve" -}}
{{- with $values.secrets.api.existingSecret }}{{ $_ := set $folders "api" . }}{{ end -}}
{{- with $values.secrets.apiTls.existingSecret }}{{ $_ := set $folders "api-tls" . }}{{ end -}}
{{- end -}}
{{- if $own.step -}}
{{- with $values.secrets.services.existingSecret }}{{ $_ := set $folders "services" . }}{{ end -}}
{{- end -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- if hasKey . "drain" }}
serviceAccountName: {{ include "orchestrator.fullname" $root | quote }}
terminationGracePeriodSeconds: {{ add (include "orchestrator.seconds" .drain) $values.stopSeconds }}
{{- else }}
restartPolicy: Never
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with default $values.pods.priorityClassName $own.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with default $values.pods.nodeSelector $own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $values.pods.tolerations $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $values.pods.affinity $own.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and (hasKey . "drain") $values.pods.topologySpread }}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    # A system of one node runs, too.
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "orchestrator.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ $.role }}
{{- end }}
{{- end }}
containers:
  - name: orchestrator
    image: {{ include "orchestrator.image" $root | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: {{- toYaml .args | nindent 6 }}
    env:
      - {name: ORCH_CONFIG, value: /etc/orchestrator/config.yaml}
      {{- if and $values.staticMembership .member }}
      - name: ORCH_KAFKA_INSTANCE_ID
        valueFrom: {fieldRef: {fieldPath: metadata.name}}
      {{- end }}
      {{- with dig "kafka" "username" "" $own }}
      - {name: ORCH_KAFKA_USERNAME, value: {{ . | quote }}}
      {{- end }}
      {{- if $postgres }}
      - name: ORCH_POSTGRES_DSN
        valueFrom: {secretKeyRef: {name: {{ $dsnSecret | quote }}, key: {{ $values.secrets.postgres.dsnKey | quote }}}}
      {{- end }}
      {{- with and (eq .role "serve") $values.secrets.postgres.readerDsnKey }}
      - name: ORCH_POSTGRES_READER_DSN
        valueFrom: {secretKeyRef: {name: {{ $dsnSecret | quote }}, key: {{ . | quote }}}}
      {{- end }}
      {{- with concat $values.pods.env (default list $own.env) }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- if hasKey . "drain" }}
    ports:
      - {name: metrics, containerPort: {{ $values.config.metrics.port | int }}}
      {{- if eq .role "serve" }}
      - {name: http, containerPort: {{ include "orchestrator.port" $values.config.server.http.addr }}}
      - {name: grpc, containerPort: {{ include "orchestrator.port" $values.config.server.grpc.addr }}}
      {{- end }}
    # Kafka or Postgres may be away for hours, at the start of a process, too. It waits, and is not
    # ready; a new process would wait as well, and forget what this one has in memory. So only an
    # event loop that stands still is a reason to start it again, and /startupz is not asked.
    startupProbe:
      httpGet: {path: /healthz, port: metrics}
      periodSeconds: 1
      timeoutSeconds: 5
      failureThreshold: 120
    livenessProbe:
      httpGet: {path: /healthz, port: metrics}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 3
    readinessProbe:
      httpGet: {path: /readyz, port: metrics}
      periodSeconds: 2
      timeoutSeconds: 5
      failureThreshold: 2
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources: {{- toYaml $own.resources | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if $remembers }}
      - {name: ended-tasks, mountPath: /var/tmp}
      {{- end }}
      - {name: config, mountPath: /etc/orchestrator, readOnly: true}
      {{- range $folder, $_ := $folders }}
      - {name: {{ $folder }}, mountPath: /run/secrets/{{ $folder }}, readOnly: true}
      {{- end }}
      {{- if and $postgres $values.secrets.postgres.caKey }}
      - {name: postgres, mountPath: /run/secrets/postgres, readOnly: true}
      {{- end }}
      {{- if $values.pipelines }}
      - {name: pipelines, mountPath: /etc/orchestrator-pipelines, readOnly: true}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: {{ $values.pods.tmpSizeLimit }}}
  {{- if $remembers }}
  - name: ended-tasks
    emptyDir: {sizeLimit: {{ $values.pods.endedTasksSizeLimit }}}
  {{- end }}
  - name: config
    configMap: {name: {{ .config | quote }}}
  {{- range $folder, $secret := $folders }}
  - name: {{ $folder }}
    secret: {secretName: {{ $secret | quote }}, defaultMode: 0440}
  {{- end }}
  {{- with and $postgres $values.secrets.postgres.caKey }}
  - name: postgres
    secret:
      secretName: {{ $dsnSecret | quote }}
      defaultMode: 0440
      items: [{key: {{ . | quote }}, path: {{ . | quote }}}]
  {{- end }}
  {{- if $values.pipelines }}
  - name: pipelines
    configMap: {name: {{ .config }}-pipelines}
  {{- end }}
{{- end -}}

{{/* The labels and annotations of a pod. Arguments: root, role. */}}
{{- define "orchestrator.podMetadata" -}}
labels:
  {{- include "orchestrator.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .role }}
  {{- with .root.Values.pods.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # A process reads its configuration once: a new one needs new pods.
  checksum/config: {{ toJson (list .root.Values.config .root.Values.pipelines) | sha256sum }}
  {{- with .root.Values.pods.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
