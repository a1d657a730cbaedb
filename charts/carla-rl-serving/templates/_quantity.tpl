{{/* Arithmetic with Kubernetes' quantities. */}}

{{/* A quantity ("500m", "2", "1.5", "4Gi", "1e3") in thousandths, a whole number; empty is 0. */}}
{{- define "carla-rl-serving.milli" -}}
{{- $q := . | toString | trim }}
{{- if eq $q "" }}0{{ else }}
{{- $number := regexFind "^[+-]?[0-9]*\\.?[0-9]*([eE][+-]?[0-9]+)?" $q }}
{{- $suffix := trimPrefix $number $q }}
{{- $factors := dict "n" 0.000001 "u" 0.001 "m" 1.0 "" 1000.0
  "k" 1e6 "M" 1e9 "G" 1e12 "T" 1e15 "P" 1e18
  "Ki" 1024000.0 "Mi" 1048576000.0 "Gi" 1073741824000.0 "Ti" 1099511627776000.0 "Pi" 1125899906842624000.0 }}
{{- if or (eq $number "") (not (hasKey $factors $suffix)) }}
{{- fail (printf "%q is no quantity" $q) }}
{{- end }}
{{- printf "%.0f" (mulf (float64 $number) (get $factors $suffix) | ceil) }}
{{- end }}
{{- end }}

{{/* Thousandths as a quantity for people: list of the number and whether it is of bytes. */}}
{{- define "carla-rl-serving.quantity" -}}
{{- $n := index . 0 | int64 }}
{{- if index . 1 }}
{{- $bytes := divf (float64 $n) 1000.0 | ceil | int64 }}
{{- if eq (mod $bytes 1073741824) 0 }}{{ div $bytes 1073741824 }}Gi
{{- else if eq (mod $bytes 1048576) 0 }}{{ div $bytes 1048576 }}Mi
{{- else if eq (mod $bytes 1024) 0 }}{{ div $bytes 1024 }}Ki
{{- else }}{{ $bytes }}{{ end }}
{{- else if eq (mod $n 1000) 0 }}{{ div $n 1000 }}
{{- else }}{{ $n }}m{{ end }}
{{- end }}

{{/*
What one pod asks for, as a JSON object of thousandths: requests.cpu,
requests.memory, limits.cpu, ... Containers add up; an init container counts
where it alone asks for more.
*/}}
{{- define "carla-rl-serving.podNeeds" -}}
{{- $root := . }}
{{- $needs := dict }}
{{- range $kind := list "requests" "limits" }}
{{- range $resource := list "cpu" "memory" "ephemeral-storage" }}
{{- $sum := 0 }}
{{- range prepend $root.Values.extraContainers (dict "resources" $root.Values.resources) }}
{{- $sum = add $sum (include "carla-rl-serving.asked" (list . $kind $resource) | int64) }}
{{- end }}
{{- $inits := $root.Values.initContainers }}
{{- if eq $root.Values.artifacts.source "init" }}{{ $inits = append $inits $root.Values.artifacts.init }}{{ end }}
{{- range $inits }}
{{- $sum = max $sum (include "carla-rl-serving.asked" (list . $kind $resource) | int64) }}
{{- end }}
{{- if $sum }}{{ $needs = set $needs (printf "%s.%s" $kind $resource) (printf "%d" (int64 $sum)) }}{{ end }}
{{- end }}
{{- end }}
{{- $needs | toJson }}
{{- end }}

{{/* What a container asks for: list of container, "requests" or "limits", resource. A request that is not given is the limit. */}}
{{- define "carla-rl-serving.asked" -}}
{{- $resources := (index . 0).resources | default dict }}
{{- $limit := dig "limits" (index . 2) "" $resources }}
{{- if eq (index . 1) "limits" }}{{ include "carla-rl-serving.milli" $limit }}
{{- else }}{{ include "carla-rl-serving.milli" (dig "requests" (index . 2) $limit $resources) }}{{ end }}
{{- end }}

{{/* What the release needs at its largest: list of root, pods and whether the test's pod comes on top. A JSON object of thousandths. */}}
{{- define "carla-rl-serving.releaseNeeds" -}}
{{- $root := index . 0 }}
{{- $pods := index . 1 | int64 }}
{{- $test := and (index . 2) $root.Values.tests.enabled }}
{{- $needs := dict "pods" (printf "%d" (mul 1000 (add $pods (ternary 1 0 $test)))) }}
{{- range $name, $one := include "carla-rl-serving.podNeeds" $root | fromJson }}
{{- $parts := regexSplit "\\." $name 2 }}
{{- $sum := mul $pods (int64 $one) }}
{{- if $test }}
{{- $sum = add $sum (include "carla-rl-serving.asked" (list $root.Values.tests (index $parts 0) (index $parts 1)) | int64) }}
{{- end }}
{{- $needs = set $needs $name (printf "%d" $sum) }}
{{- end }}
{{- $needs | toJson }}
{{- end }}
