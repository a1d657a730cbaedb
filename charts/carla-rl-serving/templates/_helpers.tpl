{{/* Names. */}}

{{- define "carla-rl-serving.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the release's objects: that of the release where it says the chart's. */}}
{{- define "carla-rl-serving.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "carla-rl-serving.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* A name with something behind it, within 63 letters: list of root and suffix. */}}
{{- define "carla-rl-serving.suffixed" -}}
{{- $suffix := index . 1 }}
{{- $full := include "carla-rl-serving.fullname" (index . 0) }}
{{- printf "%s-%s" ($full | trunc (int (sub 62 (len $suffix))) | trimSuffix "-") $suffix }}
{{- end }}

{{- define "carla-rl-serving.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "carla-rl-serving.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "carla-rl-serving.configMapName" -}}
{{- default (include "carla-rl-serving.suffixed" (list . "config")) .Values.existingConfigMap }}
{{- end }}

{{- define "carla-rl-serving.artifactsName" -}}
{{- default (include "carla-rl-serving.suffixed" (list . "artifacts")) .Values.artifacts.configMap.existingName }}
{{- end }}

{{- define "carla-rl-serving.claimName" -}}
{{- default (include "carla-rl-serving.suffixed" (list . "artifacts")) .Values.persistence.existingClaim }}
{{- end }}

{{/* The Secret that the pods read; empty where there is none. */}}
{{- define "carla-rl-serving.secretName" -}}
{{- if .Values.existingSecret }}
{{- .Values.existingSecret }}
{{- else if or .Values.apiKey .Values.databaseUrl }}
{{- include "carla-rl-serving.suffixed" (list . "secrets") }}
{{- end }}
{{- end }}

{{/* Not empty where clients must show a key. */}}
{{- define "carla-rl-serving.hasKey" -}}
{{- if or .Values.existingSecret .Values.apiKey }}yes{{ end }}
{{- end }}

{{- define "carla-rl-serving.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Labels. Those of the selector never change. */}}

{{- define "carla-rl-serving.selectorLabels" -}}
app.kubernetes.io/name: {{ include "carla-rl-serving.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of the pods that serve, which a test's pod must not carry. */}}
{{- define "carla-rl-serving.podLabels" -}}
app: model-serving
{{ include "carla-rl-serving.selectorLabels" . }}
app.kubernetes.io/component: policy-server
app.kubernetes.io/part-of: carla-rl
{{- end }}

{{/* Labels of the test's pod: neither the Service nor the Deployment takes it for one of theirs. */}}
{{- define "carla-rl-serving.testLabels" -}}
app.kubernetes.io/name: {{ printf "%s-test" (include "carla-rl-serving.name" . | trunc 58 | trimSuffix "-") }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "carla-rl-serving.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata below the name: dict of root and, where an object has its own, labels and annotations. */}}
{{- define "carla-rl-serving.metadata" -}}
labels:
  {{- $labels := include "carla-rl-serving.podLabels" .root | fromYaml }}
  {{- $labels = mustMergeOverwrite $labels (include "carla-rl-serving.commonLabels" .root | fromYaml) (default dict .labels) }}
  {{- toYaml $labels | nindent 2 }}
{{- with mustMergeOverwrite dict (deepCopy .root.Values.commonAnnotations) (deepCopy (default dict .annotations)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Not empty for a rewrite-target that turns every path into one: no path of the Ingress captures a part of it. */}}
{{- define "carla-rl-serving.rewriteBreaks" -}}
{{- $target := get .Values.ingress.annotations "nginx.ingress.kubernetes.io/rewrite-target" | default "" }}
{{- if and $target (not (contains "$" $target)) }}
{{- $captures := false }}
{{- range .Values.ingress.hosts }}{{ range .paths }}{{ if contains "(" (.path | default "") }}{{ $captures = true }}{{ end }}{{ end }}{{ end }}
{{- if not $captures }}yes{{ end }}
{{- end }}
{{- end }}

{{/* The most pods that run at a time, without a rollout. */}}
{{- define "carla-rl-serving.maxPods" -}}
{{- if .Values.autoscaling.enabled }}{{ max (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}{{ else }}{{ int .Values.replicaCount }}{{ end }}
{{- end }}

{{/* The pods that a rollout adds to them. */}}
{{- define "carla-rl-serving.surge" -}}
{{- $surge := dig "rollingUpdate" "maxSurge" "25%" .Values.strategy | toString }}
{{- if eq (.Values.strategy.type | default "RollingUpdate") "Recreate" }}0
{{- else if hasSuffix "%" $surge }}{{ divf (mulf (float64 (trimSuffix "%" $surge)) (include "carla-rl-serving.maxPods" . | float64)) 100.0 | ceil | int }}
{{- else }}{{ int $surge }}{{ end }}
{{- end }}
