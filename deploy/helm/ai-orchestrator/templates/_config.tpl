{{/* The two ConfigMaps of a name, with annotations. Arguments: root, name, annotations. */}}
{{- define "orchestrator.configMaps" -}}
{{- $config := deepCopy .root.Values.config -}}
{{- if .root.Values.pipelines -}}
{{- $config = mergeOverwrite $config (dict "pipelines" (dict "dir" "/etc/orchestrator-pipelines")) -}}
{{- end -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}
  labels: {{- include "orchestrator.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
data:
  config.yaml: |
    {{- toYaml $config | nindent 4 }}
{{- with .root.Values.pipelines }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $.name }}-pipelines
  labels: {{- include "orchestrator.labels" $.root | nindent 4 }}
  {{- with $.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
data: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
