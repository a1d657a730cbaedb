{{/* Parts of the pod. */}}

{{/* Refuses values that cannot work together, with what to do. */}}
{{- define "carla-rl-serving.check" -}}
{{- $a := .Values.artifacts }}
{{- if and (eq $a.source "configMap") (not $a.configMap.existingName) (not $a.configMap.files) (not $a.configMap.binaryFiles) }}
{{- fail "artifacts.source is configMap: set artifacts.configMap.existingName, or .files and .binaryFiles" }}
{{- end }}
{{- if and (eq $a.source "configMap") (not $a.configMap.existingName) (gt (len (toJson (list $a.configMap.files $a.configMap.binaryFiles))) 1398000) }}
{{- fail "artifacts.configMap: the files are larger than the 1 MiB that a ConfigMap holds; use artifacts.source persistence, oci or init" }}
{{- end }}
{{- if eq $a.source "oci" }}
{{- if not $a.oci.reference }}{{ fail "artifacts.source is oci: set artifacts.oci.reference" }}{{ end }}
{{- if semverCompare "<1.31-0" .Capabilities.KubeVersion.Version }}
{{- fail (printf "artifacts.source oci needs the image volumes of Kubernetes 1.31, and this is %s; use artifacts.source init" .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- end }}
{{- if and (eq $a.source "init") (not $a.init.image) }}
{{- fail "artifacts.source is init: set artifacts.init.image and .command" }}
{{- end }}
{{- if and .Values.existingSecret (or .Values.apiKey .Values.databaseUrl) }}
{{- fail "existingSecret stands in place of apiKey and databaseUrl: set one or the others" }}
{{- end }}
{{- if and .Values.existingConfigMap .Values.config }}
{{- fail "existingConfigMap stands in place of config: set one of them" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.enabled: set httpRoute.parentRefs to the Gateway that the route hangs on" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" }}
{{- end }}
{{- end }}

{{- define "carla-rl-serving.initContainer" -}}
{{- $init := .Values.artifacts.init -}}
- name: fetch-artifacts
  image: {{ $init.image | quote }}
  {{- with $init.command }}
  command:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $init.args }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  env:
    - name: ARTIFACT_DIR
      value: {{ .Values.artifacts.mountPath | quote }}
    {{- with $init.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $init.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $init.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: artifacts
      mountPath: {{ .Values.artifacts.mountPath }}
{{- end }}

{{- define "carla-rl-serving.volumeMounts" -}}
- name: config
  mountPath: /app/config
  readOnly: true
- name: logs
  mountPath: /app/logs
{{- if include "carla-rl-serving.hasKey" . }}
- name: secrets
  mountPath: /app/secrets
  readOnly: true
{{- end }}
{{- if ne .Values.artifacts.source "image" }}
- name: artifacts
  mountPath: {{ .Values.artifacts.mountPath }}
  readOnly: true
  {{- if and (eq .Values.artifacts.source "persistence") .Values.persistence.subPath }}
  subPath: {{ .Values.persistence.subPath }}
  {{- end }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end }}

{{- define "carla-rl-serving.volumes" -}}
- name: config
  configMap:
    name: {{ include "carla-rl-serving.configMapName" . }}
- name: logs
  emptyDir:
    sizeLimit: {{ .Values.logs.sizeLimit }}
{{- if include "carla-rl-serving.hasKey" . }}
- name: secrets
  secret:
    secretName: {{ include "carla-rl-serving.secretName" . }}
    # Read by the group of the pod, fsGroup, and nobody else.
    defaultMode: 0440
    items:
      - key: {{ ternary .Values.secretKeys.apiKey "api-key" (not (empty .Values.existingSecret)) }}
        path: api-key
{{- end }}
{{- $a := .Values.artifacts }}
{{- if eq $a.source "configMap" }}
- name: artifacts
  configMap:
    name: {{ include "carla-rl-serving.artifactsName" . }}
    {{- with $a.configMap.items }}
    items:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- else if eq $a.source "persistence" }}
- name: artifacts
  persistentVolumeClaim:
    claimName: {{ include "carla-rl-serving.claimName" . }}
    readOnly: true
{{- else if eq $a.source "oci" }}
- name: artifacts
  image:
    reference: {{ $a.oci.reference | quote }}
    pullPolicy: {{ $a.oci.pullPolicy }}
{{- else if eq $a.source "init" }}
- name: artifacts
  emptyDir:
    sizeLimit: {{ $a.init.sizeLimit }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end }}
