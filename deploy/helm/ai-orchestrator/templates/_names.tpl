{{/*
Names are at most 52 characters: a StatefulSet adds the hash of a revision, in a label of 63. A name
that cannot be used as it is, because it is too long, has a dot or does not begin with a letter, gets
a hash of itself: two releases have never the same names.
*/}}
{{- define "orchestrator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- if and (le (len $whole) 28) (regexMatch "^[a-z][a-z0-9-]*$" $whole) -}}
{{- $whole -}}
{{- else -}}
{{- $start := regexReplaceAll "^([^a-z])" ($whole | replace "." "-") "r${1}" | trunc 21 | trimSuffix "-" -}}
{{- printf "%s-%s" $start (sha256sum $whole | trunc 6) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of a role's objects. Arguments: root, role. */}}
{{- define "orchestrator.nameOf" -}}
{{- $part := .role | replace "." "-" | replace "_" "-" | lower -}}
{{- $name := printf "%s-%s" (include "orchestrator.fullname" .root) $part -}}
{{- if gt (len $name) 52 -}}
{{- fail (printf "%s is longer than 52 characters: set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "orchestrator.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "orchestrator.labels" -}}
{{ include "orchestrator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "orchestrator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The roles of StatefulSets with what is special about them, as YAML: role to values. */}}
{{- define "orchestrator.members" -}}
{{- if .Values.combined.enabled -}}
{{- toYaml (dict "all" (merge (dict "step" true "replicas" 1) .Values.combined)) -}}
{{- else -}}
{{- $found := dict "router" .Values.router "sink" .Values.sink "dlq-index" .Values.dlqIndex -}}
{{- range $step, $own := .Values.steps -}}
{{- $merged := mergeOverwrite (deepCopy $.Values.stepDefaults) (default dict $own) -}}
{{- $found = set $found (printf "step.%s" $step) (set $merged "step" true) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
{{- end -}}

{{/* Whole seconds, rounded up, of a number of seconds or a text such as 500ms or 2m. */}}
{{- define "orchestrator.seconds" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+" $text | float64 -}}
{{- $unit := regexReplaceAll "^[0-9. ]+" $text "" -}}
{{- $factors := dict "" 1.0 "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- mulf $number (get $factors $unit) | ceil | int -}}
{{- end -}}

{{/* The port of HOST:PORT. */}}
{{- define "orchestrator.port" -}}
{{- regexFind "[0-9]+$" . | int -}}
{{- end -}}
