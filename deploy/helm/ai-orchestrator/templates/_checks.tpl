{{/* What the schema cannot say, or not in a sentence. Fails, or is empty. */}}
{{- define "orchestrator.checks" -}}
{{- range list "worker.drain_s" "server.drain_s" "data.kafka.drain_timeout_s" "metrics.port" "worker.slots" "topics.prefix" -}}
{{- $value := $.Values.config -}}
{{- range splitList "." . }}{{ $value = get (default dict $value) . }}{{ end -}}
{{- if contains "${" (toString $value) -}}
{{- fail (printf "config.%s is %v: the chart computes with it, so it must be the value itself" . $value) -}}
{{- end -}}
{{- end -}}
{{- include "orchestrator.checkPorts" . -}}
{{- include "orchestrator.checkReplicas" . -}}
{{- include "orchestrator.checkEnv" (dict "at" "pods.env" "env" .Values.pods.env) -}}
{{- range $name := list "combined" "router" "sink" "dlqIndex" "serve" "stepDefaults" "topicsJob" "migrateJob" -}}
{{- include "orchestrator.checkEnv" (dict "at" (printf "%s.env" $name) "env" (get $.Values $name).env) -}}
{{- end -}}
{{- range $step, $own := .Values.steps -}}
{{- include "orchestrator.checkEnv" (dict "at" (printf "steps.%s.env" $step) "env" (default dict $own).env) -}}
{{- end -}}
{{- range $name, $value := .Values -}}
{{- include "orchestrator.checkText" (dict "at" $name "value" $value) -}}
{{- end -}}
{{- end -}}

{{/* No variable that the chart computes with, and none that holds a secret. Arguments: at, env. */}}
{{- define "orchestrator.checkEnv" -}}
{{- $computed := dict "ORCH_CONFIG" "ORCH_CONFIG" "ORCH_PIPELINES_DIR" "pipelines" "ORCH_KAFKA_INSTANCE_ID" "staticMembership" "ORCH_POSTGRES_DSN" "secrets.postgres" "ORCH_POSTGRES_READER_DSN" "secrets.postgres" "ORCH_WORKER_DRAIN_S" "config.worker.drain_s" "ORCH_WORKER_SLOTS" "config.worker.slots" "ORCH_KAFKA_DRAIN_TIMEOUT_S" "config.data.kafka.drain_timeout_s" "ORCH_API_DRAIN_S" "config.server.drain_s" "ORCH_API_HOST" "config.server.http.addr" "ORCH_API_HTTP_PORT" "config.server.http.addr" "ORCH_API_GRPC_PORT" "config.server.grpc.addr" "ORCH_METRICS_HOST" "config.metrics.host" "ORCH_METRICS_PORT" "config.metrics.port" "ORCH_TOPICS_PREFIX" "config.topics.prefix" "ORCH_TOPICS_PARTITIONS" "config.topics.partitions" -}}
{{- range .env -}}
{{- with get $computed .name -}}
{{- fail (printf "%s sets a variable that the chart sets or computes with: use %s in its place" $.at .) -}}
{{- end -}}
{{- $value := toString (default "" .value) -}}
{{- $secret := regexMatch "(?i)(passw|secret|token|credential|headers|api_?key|private_?key)" .name -}}
{{- $known := or (hasPrefix "ORCH_" .name) (regexMatch "(?i)_(file|files|path|dir)$" .name) -}}
{{- if and $value $secret (not $known) (not (regexMatch "^([0-9.]+|true|false)$" $value)) -}}
{{- fail (printf "%s: the name of %s says that it holds a secret: give it as valueFrom.secretKeyRef" $.at .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* No password in any address, nor what looks like a login. Arguments: at, value. */}}
{{- define "orchestrator.checkText" -}}
{{- if kindIs "map" .value -}}
{{- range $name, $value := .value -}}
{{- include "orchestrator.checkText" (dict "at" (printf "%s.%s" $.at $name) "value" $value) -}}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $place, $value := .value -}}
{{- include "orchestrator.checkText" (dict "at" (printf "%s[%d]" $.at $place) "value" $value) -}}
{{- end -}}
{{- else if kindIs "string" .value -}}
{{- $address := regexMatch "://[^/@\\s]*:([^$@\\s]|[$][^{@\\s])[^@\\s]*@" .value -}}
{{- $pair := regexMatch "(?i)(^|[?&;\\s])(ssl)?(password|passwd|access_token|api_?key)=[^$\\s&]" .value -}}
{{- $login := regexMatch "(?i)(^|[\\s=:])(bearer|basic)\\s+[A-Za-z0-9+/._~-]+=*($|,)" .value -}}
{{- if or $address $pair $login -}}
{{- fail (printf "%s holds a password in plain text, which would end in a ConfigMap or in the spec of a pod: refer to a Secret" .at) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "orchestrator.checkPorts" -}}
{{- $config := .Values.config -}}
{{- $ports := dict "server.http.addr" (include "orchestrator.port" $config.server.http.addr) "server.grpc.addr" (include "orchestrator.port" $config.server.grpc.addr) "metrics.port" (toString (int $config.metrics.port)) -}}
{{- range $name, $port := $ports -}}
{{- if or (lt (int $port) 1) (gt (int $port) 65535) -}}
{{- fail (printf "config.%s: %s is not a port" $name $port) -}}
{{- end -}}
{{- end -}}
{{- if ne (len (uniq (values $ports))) 3 -}}
{{- fail (printf "config.server.http.addr, config.server.grpc.addr and config.metrics.port need a port each: %v" $ports) -}}
{{- end -}}
{{- end -}}

{{- define "orchestrator.checkReplicas" -}}
{{- $partitions := int .Values.config.topics.partitions -}}
{{- range $role, $own := include "orchestrator.members" . | fromYaml -}}
{{- if and (gt (int $own.replicas) $partitions) (not (and (hasKey $own "step") $.Values.autoscaling.enabled)) -}}
{{- fail (printf "%s: replicas is %d; one above the %d partitions would have no work" $role (int $own.replicas) $partitions) -}}
{{- end -}}
{{- end -}}
{{- end -}}
