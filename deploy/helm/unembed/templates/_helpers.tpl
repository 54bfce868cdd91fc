{{- define "unembed.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{ $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* Labels that stay the same for the life of a part. The argument: a list of the context and the part. */}}
{{- define "unembed.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "unembed.labels" -}}
{{ include "unembed.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{/* The argument: a list of the context and an image of the values. */}}
{{- define "unembed.image" -}}
{{- $image := index . 1 -}}
image: "{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}"
imagePullPolicy: {{ $image.pullPolicy }}
{{- end }}

{{- define "unembed.pod" -}}
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- else }}
automountServiceAccountToken: false
{{- end }}
{{- with .Values.images.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
# Its variables for a service called `unembed` would look like settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "unembed.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- define "unembed.databaseUrl" -}}
{{- $database := .Values.database -}}
postgresql://{{ $database.user }}@{{ $database.host }}:{{ $database.port }}/{{ $database.name }}{{ with $database.sslmode }}?sslmode={{ . }}{{ end }}
{{- end }}

{{/* What every part is told. Secrets are files, so that they are in nobody's environment. */}}
{{- define "unembed.env" -}}
- { name: UNEMBED_DATABASE_URL, value: {{ include "unembed.databaseUrl" . | quote }} }
- { name: UNEMBED_DATABASE_PASSWORD_FILE, value: /run/secrets/unembed/database_password }
- { name: UNEMBED_REDIS_URL, value: {{ .Values.redis.url | quote }} }
{{- if .Values.redis.passwordSecret.name }}
- { name: UNEMBED_REDIS_PASSWORD_FILE, value: /run/secrets/unembed/redis_password }
{{- end }}
{{- if .Values.payloads.url }}
- { name: UNEMBED_PAYLOAD_URL, value: {{ .Values.payloads.url | quote }} }
{{- if .Values.payloads.passwordSecret.name }}
- { name: UNEMBED_PAYLOAD_PASSWORD_FILE, value: /run/secrets/unembed/payload_password }
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- { name: UNEMBED_{{ upper $name }}, value: {{ (kindIs "float64" $value) | ternary (printf "%v" (int64 $value)) (toString $value) | quote }} }
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The secrets of a part, in one folder. The argument: the context, and a list of what it has besides those of all. */}}
{{- define "unembed.secrets" -}}
{{- $context := index . 0 -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ $context.Values.database.passwordSecret.name }}
          items: [{ key: {{ $context.Values.database.passwordSecret.key }}, path: database_password }]
      {{- with $context.Values.redis.passwordSecret }}
      {{- if .name }}
      - secret:
          name: {{ .name }}
          items: [{ key: {{ .key }}, path: redis_password }]
      {{- end }}
      {{- end }}
      {{- with $context.Values.payloads.passwordSecret }}
      {{- if and $context.Values.payloads.url .name }}
      - secret:
          name: {{ .name }}
          items: [{ key: {{ .key }}, path: payload_password }]
      {{- end }}
      {{- end }}
      {{- range $path, $secret := index . 1 }}
      - secret:
          name: {{ $secret.name }}
          items: [{ key: {{ $secret.key }}, path: {{ $path }} }]
      {{- end }}
{{- end }}

{{/* Where a part may write: nowhere else, for the root of its file system is read-only. */}}
{{- define "unembed.mounts" -}}
- { name: secrets, mountPath: /run/secrets/unembed, readOnly: true }
- { name: tmp, mountPath: /tmp }
- { name: home, mountPath: /home/unembed }
{{- end }}
