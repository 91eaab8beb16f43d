{{/*
What a node selector term must hold, all of it, to match long-lived nodes only: as placement itself writes it to the
pods of others. The labels are in files/spot-labels.yaml, which a test holds to the program's.
*/}}
{{- define "ebbtide.longLived.requirements" -}}
{{- $marks := list -}}
{{- with .Values.placement.config.lifecycle -}}
{{- if .builtIn -}}
{{- range ($.Files.Get "files/spot-labels.yaml" | fromYaml).labels -}}
{{- $marks = append $marks (dict "key" .key "values" (.values | default list)) -}}
{{- end -}}
{{- end -}}
{{- range .spotLabels -}}
{{- $parts := splitn "=" 2 . -}}
{{- $values := contains "=" . | ternary (list $parts._1) list -}}
{{- $marks = append $marks (dict "key" $parts._0 "values" $values) -}}
{{- end -}}
{{- end -}}
{{- /* Labels of one key are joined: of either's values, or of any when one of them asks for none. */ -}}
{{- $keys := list -}}
{{- $any := dict -}}
{{- $values := dict -}}
{{- range $mark := $marks -}}
{{- $keys = append $keys $mark.key | uniq -}}
{{- if not $mark.values -}}{{- $_ := set $any $mark.key true -}}{{- end -}}
{{- $_ := set $values $mark.key (concat (get $values $mark.key | default list) $mark.values | uniq) -}}
{{- end -}}
{{- range $key := $keys }}
{{- if hasKey $any $key }}
- {key: {{ $key }}, operator: DoesNotExist}
{{- else }}
- {key: {{ $key }}, operator: NotIn, values: {{ get $values $key | toJson }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The affinity of placement's own pods: the user's, with every term narrowed to long-lived nodes. */}}
{{- define "ebbtide.placement.affinity" -}}
{{- $affinity := deepCopy .Values.placement.affinity -}}
{{- $requirements := include "ebbtide.longLived.requirements" . | fromYamlArray -}}
{{- $node := $affinity.nodeAffinity | default dict -}}
{{- if eq .Values.placement.longLived "Required" -}}
{{- $required := $node.requiredDuringSchedulingIgnoredDuringExecution | default dict -}}
{{- $terms := list -}}
{{- range ($required.nodeSelectorTerms | default (list dict)) -}}
{{- $terms = append $terms (set . "matchExpressions" (concat (.matchExpressions | default list) $requirements)) -}}
{{- end -}}
{{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- else if eq .Values.placement.longLived "Preferred" -}}
{{- $preferred := $node.preferredDuringSchedulingIgnoredDuringExecution | default list -}}
{{- $preferred = append $preferred (dict "weight" 100 "preference" (dict "matchExpressions" $requirements)) -}}
{{- $_ := set $node "preferredDuringSchedulingIgnoredDuringExecution" $preferred -}}
{{- end -}}
{{- if $node -}}
{{- $_ := set $affinity "nodeAffinity" $node -}}
{{- end -}}
{{- if $affinity -}}
{{ toYaml $affinity }}
{{- end -}}
{{- end -}}
