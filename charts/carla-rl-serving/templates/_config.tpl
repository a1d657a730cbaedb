{{/* The server's configuration file. */}}

{{/* Names under which the Service is asked for, one on each line. */}}
{{- define "carla-rl-serving.serviceHosts" -}}
{{- $name := include "carla-rl-serving.fullname" . -}}
{{ $name }}
{{ $name }}.{{ .Release.Namespace }}
{{ $name }}.{{ .Release.Namespace }}.svc
{{ $name }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{/*
Hosts that the server answers for, as a JSON list: none, which is all, where
nothing outside the cluster leads to it and none are asked for; else those asked
for, those of the Ingress and the HTTPRoute, and the names of the Service. A
rule without a host takes every host.
*/}}
{{- define "carla-rl-serving.allowedHosts" -}}
{{- $hosts := list }}
{{- $all := false }}
{{- $asked := dig "security" "allowed_hosts" (list) .Values.config }}
{{- if kindIs "string" $asked }}{{ $asked = splitList "," $asked }}{{ end }}
{{- range $asked }}
{{- with trim . }}{{ $hosts = append $hosts . }}{{ end }}
{{- end }}
{{- if .Values.ingress.enabled }}
{{- range .Values.ingress.hosts }}
{{- if .host }}{{ $hosts = append $hosts .host }}{{ else }}{{ $all = true }}{{ end }}
{{- end }}
{{- if not .Values.ingress.hosts }}{{ $all = true }}{{ end }}
{{- end }}
{{- if .Values.httpRoute.enabled }}
{{- $hosts = concat $hosts .Values.httpRoute.hostnames }}
{{- if not .Values.httpRoute.hostnames }}{{ $all = true }}{{ end }}
{{- end }}
{{- if and $all (not $asked) }}
{{- $hosts = list }}
{{- else if has "*" $hosts }}
{{- $hosts = list "*" }}
{{- else if $hosts }}
{{- $hosts = concat $hosts (include "carla-rl-serving.serviceHosts" . | splitList "\n") | uniq }}
{{- end }}
{{- $hosts | toJson }}
{{- end }}

{{- define "carla-rl-serving.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $hosts := include "carla-rl-serving.allowedHosts" . | fromJsonArray }}
{{- if $hosts }}
{{- $config = mustMergeOverwrite $config (dict "security" (dict "allowed_hosts" $hosts)) }}
{{- end }}
{{- range $section, $keys := $config }}
{{- if not $keys }}{{ $config = omit $config $section }}{{ end }}
{{- end }}
{{- if $config }}{{ toYaml $config }}{{ else }}{{ "# Everything is at its default." }}{{ end }}
{{- end }}

{{/* Port of /metrics in the pod. */}}
{{- define "carla-rl-serving.metricsPort" -}}
{{- $port := dig "monitoring" "metrics_port" 0 .Values.config | int }}
{{- if $port }}{{ $port }}{{ else }}{{ int .Values.service.targetPort }}{{ end }}
{{- end }}

{{/* Its name. */}}
{{- define "carla-rl-serving.metricsPortName" -}}
{{- if eq (include "carla-rl-serving.metricsPort" . | int) (int .Values.service.targetPort) }}http{{ else }}metrics{{ end }}
{{- end }}

{{/* Not empty where the server answers /metrics. */}}
{{- define "carla-rl-serving.hasMetrics" -}}
{{- if dig "monitoring" "enable_metrics" true .Values.config }}yes{{ end }}
{{- end }}

{{/* Where the server finds the policy: of an image volume it may be a folder in it. */}}
{{- define "carla-rl-serving.artifactDir" -}}
{{- .Values.artifacts.mountPath }}
{{- if and (eq .Values.artifacts.source "oci") .Values.artifacts.oci.path }}/{{ .Values.artifacts.oci.path }}{{ end }}
{{- end }}

{{/* The environment that the chart gives, as a YAML list; what extraEnv names is left to it. */}}
{{- define "carla-rl-serving.env" -}}
{{- $env := list
  (dict "name" "HOST" "value" "0.0.0.0")
  (dict "name" "PORT" "value" (.Values.service.targetPort | int | toString))
  (dict "name" "ARTIFACT_DIR" "value" (include "carla-rl-serving.artifactDir" .))
  (dict "name" "CARLA_RL_DRAIN_DELAY" "value" .Values.drainDelay) }}
{{- if include "carla-rl-serving.hasKey" . }}
{{- $env = append $env (dict "name" "API_KEY_FILE" "value" "/app/secrets/api-key") }}
{{- end }}
{{- if or .Values.existingSecret .Values.databaseUrl }}
{{- $key := ternary .Values.secretKeys.databaseUrl "database-url" (not (empty .Values.existingSecret)) }}
{{- $env = append $env (dict "name" "DATABASE_URL" "valueFrom" (dict "secretKeyRef" (dict
  "name" (include "carla-rl-serving.secretName" .) "key" $key "optional" (not (empty .Values.existingSecret))))) }}
{{- end }}
{{- $memory := include "carla-rl-serving.asked" (list (dict "resources" .Values.resources) "requests" "memory") | int64 }}
{{- if and $memory .Values.goMemLimitPercent }}
{{- $mib := div (mul $memory (int64 .Values.goMemLimitPercent)) 104857600000 }}
{{- $env = append $env (dict "name" "GOMEMLIMIT" "value" (printf "%dMiB" (max 1 $mib))) }}
{{- end }}
{{- $extra := list }}
{{- range .Values.extraEnv }}{{ $extra = append $extra .name }}{{ end }}
{{- $own := list }}
{{- range $env }}{{ if not (has .name $extra) }}{{ $own = append $own . }}{{ end }}{{ end }}
{{- concat $own .Values.extraEnv | toYaml }}
{{- end }}
