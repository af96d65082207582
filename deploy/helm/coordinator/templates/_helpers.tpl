{{/* The labels that select the pods of a component: dict "root" $ "component" NAME */}}
{{- define "coordinator.selector" -}}
app.kubernetes.io/name: coordinator
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "coordinator.labels" -}}
{{ include "coordinator.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "coordinator.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag }}{{ end }}
{{- end }}

{{/* The restricted pod security standard. */}}
{{- define "coordinator.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "coordinator.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  privileged: false
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The secrets of web, control workers and clock. */}}
{{- define "coordinator.core" -}}
{{- range tuple "SECRET_KEY" "WORKER_SECRET" "DATABASE_URL" "REDIS_URL" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.secrets.core }}, key: {{ . }}}}
{{- end }}
{{- end }}

{{/* The settings, and the optional Secrets in "secrets", of which empty names are left out. */}}
{{- define "coordinator.envFrom" -}}
- configMapRef: {name: {{ .root.Release.Name }}-settings}
{{- range .secrets }}
{{- if . }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{/* Spreads the pods of a component over the nodes. */}}
{{- define "coordinator.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "coordinator.selector" . | nindent 8 }}
{{- end }}

{{/* Where a process that is not restarted still answers, at the port of the metrics. */}}
{{- define "coordinator.liveProbes" -}}
startupProbe:
  httpGet: {path: /live, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /live, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* The networks of `from` that are inside of the larger network `cidr`, as a JSON list. Kubernetes refuses others. */}}
{{- define "coordinator.excluded" }}
{{- $outer := splitList "/" .cidr }}
{{- $found := list }}
{{- range .from | uniq }}
  {{- $inner := splitList "/" . }}
  {{- $ipv6 := contains ":" . }}
  {{- if and (eq $ipv6 (contains ":" $.cidr)) (lt (int (last $outer)) (int (last $inner))) }}
    {{- if $ipv6 }}
      {{- if eq $.cidr "::/0" }}{{ $found = append $found . }}{{ end }}
    {{- else }}
      {{- $size := 1 }}
      {{- range until (int (sub 32 (int (last $outer)))) }}{{ $size = mul $size 2 }}{{ end }}
      {{- $first := div (include "coordinator.number" (first $outer) | int64) $size }}
      {{- if eq $first (div (include "coordinator.number" (first $inner) | int64) $size) }}{{ $found = append $found . }}{{ end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- toJson $found }}
{{- end }}

{{/* An IPv4 address as a number. */}}
{{- define "coordinator.number" }}
{{- $number := 0 }}
{{- range splitList "." . }}{{ $number = add (mul $number 256) (int .) }}{{ end }}
{{- $number }}
{{- end }}
