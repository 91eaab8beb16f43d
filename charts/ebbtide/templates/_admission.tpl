{{/*
What the admission policies of the agent have in common. Their expressions need nothing that Kubernetes 1.32 lacks.
*/}}

{{/* A policy that looks at the agent's account only. Takes a list of the root and the policy's name. */}}
{{- define "ebbtide.agent.policy" -}}
{{- $root := index . 0 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ include "ebbtide.agent.fullname" $root }}-{{ index . 1 }}
  labels:
    {{- include "ebbtide.labels" (list $root "agent") | nindent 4 }}
spec:
  # A request that cannot be judged is refused. Nobody's but the agent's are judged.
  failurePolicy: Fail
{{- end -}}

{{/* Whether the request is an agent's. */}}
{{- define "ebbtide.agent.asks" -}}
request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "ebbtide.agent.serviceAccount" . }}'
{{- end -}}

{{- define "ebbtide.agent.matchConditions" -}}
matchConditions:
- name: agent
  expression: {{ include "ebbtide.agent.asks" . }}
{{- end -}}

{{/* The variable "node": where the pod runs that the token was made for. The API server has written it into the token. */}}
{{- define "ebbtide.agent.node" -}}
- name: node
  expression: request.userInfo.?extra[?'authentication.kubernetes.io/node-name'][?0].orValue('')
{{- end -}}

{{/* The first question of each policy. */}}
{{- define "ebbtide.agent.bound" -}}
- expression: variables.node != ''
  reason: Forbidden
  message: the token is bound to no node; the one that a kubelet gives to an agent's pod is
{{- end -}}

{{/* A question about the pod that stands in oldObject. */}}
{{- define "ebbtide.agent.ofItsNode" -}}
- expression: oldObject.spec.?nodeName.orValue('') == variables.node
  reason: Forbidden
  messageExpression: "'the agent of node ' + variables.node + ' may not touch a pod that is elsewhere'"
{{- end -}}

{{/*
That two maps have the same values but for some keys. Takes a list of the new one, the old one, and what is true of
those keys, called k. For the type checker an object is no map until it is dyn.
*/}}
{{- define "ebbtide.agent.sameBut" -}}
{{- $new := index . 0 }}{{ $old := index . 1 }}{{ $but := index . 2 -}}
{{ $new }}.all(k, {{ $but }} || (k in {{ $old }} && {{ $new }}[k] == {{ $old }}[k])) &&
{{ $old }}.all(k, {{ $but }} || k in {{ $new }})
{{- end -}}

{{/* A policy's binding. Takes a list of the root and the policy's name. */}}
{{- define "ebbtide.agent.binding" -}}
{{- $root := index . 0 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "ebbtide.agent.fullname" $root }}-{{ index . 1 }}
  labels:
    {{- include "ebbtide.labels" (list $root "agent") | nindent 4 }}
spec:
  policyName: {{ include "ebbtide.agent.fullname" $root }}-{{ index . 1 }}
  # What is refused stands in the audit log, too: it is a bug of ours, or somebody else has the token.
  validationActions: [Deny, Audit]
{{- end -}}
