{{/* The beginning of every name that the chart chooses. */}}
{{- define "ebbtide.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ebbtide.agent.fullname" -}}{{ include "ebbtide.fullname" . }}-agent{{- end -}}
{{- define "ebbtide.placement.fullname" -}}{{ include "ebbtide.fullname" . }}-placement{{- end -}}
{{- define "ebbtide.sweep.fullname" -}}{{ include "ebbtide.fullname" . }}-sweep{{- end -}}

{{/* What a selector may hold: it can never change. Takes a list of the root and the component. */}}
{{- define "ebbtide.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The labels of an object. Takes a list of the root and the component. */}}
{{- define "ebbtide.labels" -}}
{{- $root := index . 0 -}}
{{ include "ebbtide.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: ebbtide
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
The labels of a pod: without the chart's version, which would replace every pod for a change of nothing but the chart.
Takes a list of the root, the component and the labels of that component's values.
*/}}
{{- define "ebbtide.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "ebbtide.selectorLabels" (list $root (index . 1)) }}
app.kubernetes.io/part-of: ebbtide
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with index . 2 }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ebbtide.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ebbtide.agent.serviceAccount" -}}
{{- with .Values.agent.serviceAccount -}}
{{- .name | default (.create | ternary (include "ebbtide.agent.fullname" $) "default") -}}
{{- end -}}
{{- end -}}

{{- define "ebbtide.placement.serviceAccount" -}}
{{- with .Values.placement.serviceAccount -}}
{{- .name | default (.create | ternary (include "ebbtide.placement.fullname" $) "default") -}}
{{- end -}}
{{- end -}}

{{/* The port of an address such as ":9808". */}}
{{- define "ebbtide.port" -}}
{{- regexFind "[0-9]+$" . | required (printf "listen: %q has no port" .) -}}
{{- end -}}

{{/* The host of an address such as "127.0.0.1:9808" or "[::1]:9808"; empty when it is every address. */}}
{{- define "ebbtide.host" -}}
{{- $host := regexReplaceAll ":[0-9]+$" . "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if not (has $host (list "0.0.0.0" "::")) -}}{{ $host }}{{- end -}}
{{- end -}}

{{/*
A probe of one of the program's own paths. Takes a list of the path, the address and whether the pod has the node's
network: only there can an address that is not the pod's be asked.
*/}}
{{- define "ebbtide.probe" -}}
httpGet:
  path: {{ index . 0 }}
  port: metrics
  {{- with include "ebbtide.host" (index . 1) }}
  {{- if index $ 2 }}
  host: {{ . | quote }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* What a pod and its container may do: nothing. This is what Pod Security calls restricted. */}}
{{- define "ebbtide.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "ebbtide.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Whether the API servers call a webhook of ours. */}}
{{- define "ebbtide.placement.isWebhook" -}}
{{- if and .Values.placement.enabled (eq .Values.placement.config.mode "Webhook") -}}true{{- end -}}
{{- end -}}

{{/* Whether placement takes back what a drain has left on a node; a duration of nothing but zeros switches that off. */}}
{{- define "ebbtide.placement.sweeps" -}}
{{- if and .Values.placement.enabled (regexMatch "[1-9]" (toString .Values.placement.config.audit.sweepAfter)) -}}true{{- end -}}
{{- end -}}

{{/* What an endpoint of a PodMonitor and of a ServiceMonitor have in common. */}}
{{- define "ebbtide.scrape" -}}
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What an agent does, as a sentence without its subject. */}}
{{- define "ebbtide.agent.watches" -}}
{{- $provider := dig "provider" "auto" .Values.agent.config -}}
{{- $itself := dig "cluster" "enabled" false .Values.agent.config -}}
{{- $names := dict "auto" "the cloud that its node runs in" "aws" "AWS" "gcp" "Google Cloud" "azure" "Azure" "alibaba" "Alibaba Cloud" "tencent" "Tencent Cloud" -}}
{{- if and (eq $provider "none") (not $itself) -}}
watches no cloud (provider: none); it takes orders for drills.
{{- else -}}
watches {{ if eq $provider "none" }}its own Node, and no cloud (provider: none),{{ else }}{{ get $names $provider }}{{ if $itself }}, and its own Node,{{ end }}{{ end }} for the interruption of its node, and empties the node in time.
{{- end }}
{{- end -}}
