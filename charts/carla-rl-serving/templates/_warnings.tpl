{{/* What the notes warn of: one paragraph for each trap that these values walk into. */}}
{{- define "carla-rl-serving.warnings" -}}
{{- $v := .Values }}
{{- if hasPrefix "your-registry/" $v.image.repository }}
WARNING: image.repository is the placeholder {{ $v.image.repository }}. Set it to the registry that you pushed the image to.
{{ end }}
{{- if include "carla-rl-serving.rewriteBreaks" . }}
WARNING: ingress.annotations has rewrite-target: {{ get $v.ingress.annotations "nginx.ingress.kubernetes.io/rewrite-target" }}, and no path captures anything: it would turn /predict into that path, and every request into a 404. It is left out.
{{ end }}
{{- if and (or $v.ingress.enabled $v.httpRoute.enabled) (not (include "carla-rl-serving.hasKey" .)) (not (include "carla-rl-serving.setsEnv" (list . "API_KEY" "API_KEY_FILE"))) (not $v.extraEnvFrom) }}
WARNING: {{ ternary "the Ingress" "the HTTPRoute" $v.ingress.enabled }} leads to the server and there is no API key: whoever reaches it may use the policy. Set existingSecret (or apiKey).
{{ end }}
{{- range $v.extraEnv }}
{{- if and (eq .name "ALLOWED_HOSTS") .value (ne .value "*") }}
{{- $listed := splitList "," .value }}
{{- $lacks := list }}
{{- range include "carla-rl-serving.serviceHosts" $ | splitList "\n" }}
{{- if not (has . $listed) }}{{ $lacks = append $lacks . }}{{ end }}
{{- end }}
{{- if $lacks }}
WARNING: ALLOWED_HOSTS in extraEnv lacks {{ join ", " $lacks }}: requests through the Service by that name are refused, and so is `helm test`. Use config.security.allowed_hosts, to which the chart adds them.
{{ end }}
{{- end }}
{{- end }}
{{- if and $v.autoscaling.enabled $v.vpa.enabled (ne $v.vpa.updateMode "Off") }}
WARNING: the VerticalPodAutoscaler changes the requests ({{ $v.vpa.updateMode }}) that the HorizontalPodAutoscaler measures against: they work against each other. Set vpa.updateMode to "Off", which recommends, or autoscaling.enabled to false.
{{ end }}
{{- if $v.autoscaling.enabled }}
{{- range $resource, $target := dict "cpu" $v.autoscaling.targetCPUUtilizationPercentage "memory" $v.autoscaling.targetMemoryUtilizationPercentage }}
{{- if and $target (eq (include "carla-rl-serving.asked" (list (dict "resources" $v.resources) "requests" $resource) | int64) 0) }}
WARNING: the autoscaler measures {{ $resource }} against resources.requests.{{ $resource }}, which is not set: it will not scale. Set it.
{{ end }}
{{- end }}
{{- end }}
{{- if $v.podDisruptionBudget.enabled }}
{{- $least := ternary $v.autoscaling.minReplicas $v.replicaCount $v.autoscaling.enabled | int }}
{{- $min := toString $v.podDisruptionBudget.minAvailable }}
{{- if or (eq $min "100%") (and (ne $min "") (not (hasSuffix "%" $min)) (ge (int $min) $least)) (and (eq $min "") (has (toString $v.podDisruptionBudget.maxUnavailable) (list "0" "0%"))) }}
WARNING: the PodDisruptionBudget lets no pod go when {{ $least }} run: a node that is drained waits for ever. Use podDisruptionBudget.maxUnavailable: 1.
{{ end }}
{{- end }}
{{- $grace := int $v.terminationGracePeriodSeconds }}
{{- if and (regexMatch "^[0-9]+s$" $v.drainDelay) (le $grace (trimSuffix "s" $v.drainDelay | int)) }}
WARNING: terminationGracePeriodSeconds is {{ $grace }}, and a stopping pod serves on for {{ $v.drainDelay }}: it is killed before it has finished. Set it to {{ add (trimSuffix "s" $v.drainDelay | int) 40 }}.
{{ end }}
{{- if and (eq $v.artifacts.source "persistence") (not $v.persistence.existingClaim) .Release.IsInstall }}
NOTE: the claim {{ include "carla-rl-serving.claimName" . }} is new and empty: no pod becomes ready until the policy's files lie in it.
{{ end }}
{{- include "carla-rl-serving.quotaWarnings" . }}
{{- end }}

{{/* Not empty where extraEnv sets one of the names: list of root and names. */}}
{{- define "carla-rl-serving.setsEnv" -}}
{{- $names := rest . }}
{{- range (first .).Values.extraEnv }}{{ if has .name $names }}yes{{ end }}{{ end }}
{{- end }}

{{/*
Each quota of the namespace, and the chart's own, against the most pods that the
release may run, and one rollout on top. Other releases in the namespace are
not counted.
*/}}
{{- define "carla-rl-serving.quotaWarnings" -}}
{{- $own := include "carla-rl-serving.fullname" . }}
{{- $quotas := dict }}
{{- if .Values.resourceQuota.check }}
{{- range (lookup "v1" "ResourceQuota" .Release.Namespace "").items | default list }}
{{- if and (ne .metadata.name $own) (not .spec.scopes) (not .spec.scopeSelector) }}
{{- $quotas = set $quotas .metadata.name .spec.hard }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.resourceQuota.enabled .Values.resourceQuota.hard }}
{{- $quotas = set $quotas $own .Values.resourceQuota.hard }}
{{- end }}
{{- $pods := include "carla-rl-serving.maxPods" . | int }}
{{- $surge := include "carla-rl-serving.surge" . | int }}
{{- $one := set (include "carla-rl-serving.podNeeds" . | fromJson) "pods" "1000" }}
{{- $needs := include "carla-rl-serving.releaseNeeds" (list . (add $pods $surge) false) | fromJson }}
{{- range $quota, $hard := $quotas }}
{{- range $name, $value := $hard }}
{{- $full := ternary (printf "requests.%s" $name) $name (has $name (list "cpu" "memory" "ephemeral-storage")) }}
{{- $bytes := not (or (eq $full "pods") (hasSuffix "cpu" $full)) }}
{{- if hasKey $one $full }}
{{- $each := get $one $full | int64 }}
{{- $room := div (include "carla-rl-serving.milli" $value | int64) $each | int }}
{{- if lt $room (add $pods $surge | int) }}
WARNING: ResourceQuota {{ $quota }} has {{ $name }}: {{ $value }}, room for {{ $room }} pods
{{- if ne $full "pods" }} of {{ include "carla-rl-serving.quantity" (list $each $bytes) }} each{{ end }}; {{ ternary "the autoscaler may start" "replicaCount is" $.Values.autoscaling.enabled }} {{ $pods }}
{{- if $surge }}, and a rollout needs {{ $surge }} more{{ end }}. Raise it to {{ include "carla-rl-serving.quantity" (list (get $needs $full) $bytes) }}, or lower resources
{{- if gt $room $surge }} or {{ ternary "autoscaling.maxReplicas" "replicaCount" $.Values.autoscaling.enabled }} (to {{ sub $room $surge }}){{ end }}.
{{ end }}
{{- end }}
{{- end }}
{{- range $kind := list "requests.cpu" "requests.memory" "limits.cpu" "limits.memory" "requests.ephemeral-storage" "limits.ephemeral-storage" }}
{{- $short := trimPrefix "requests." $kind }}
{{- if and (or (hasKey $hard $kind) (hasKey $hard $short)) (not (hasKey $one $kind)) }}
WARNING: ResourceQuota {{ $quota }} counts {{ $kind }}, and the pods do not give it: they are refused. Set resources.{{ $kind }}.
{{ end }}
{{- end }}
{{- end }}
{{- end }}
