{{/* A rule of an egress to peers at ports. */}}
{{- define "orchestrator.peers" -}}
to: {{- toYaml .to | nindent 2 }}
ports:
{{- range .ports }}
  - {protocol: TCP, port: {{ . | int }}}
{{- else }} []
{{- end }}
{{- end -}}

{{/* What every pod needs: names, Kafka, and what the installation adds. */}}
{{- define "orchestrator.egress" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
- {{- include "orchestrator.peers" .Values.networkPolicies.kafka | nindent 2 }}
{{- with .Values.networkPolicies.egress }}
{{ toYaml . }}
{{- end }}
{{- end -}}
