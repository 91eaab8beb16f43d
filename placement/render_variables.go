package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
)

// The variables of the admission policy, one step of Decide each. CEL has no
// functions, so the steps are values, evaluated only when something asks for them.
//
// Two properties of the API server's CEL shape the text. Lists and maps hold one type
// each, and dyn() lifts that. Values that become part of the patch are maps, and not
// Object{}: a list of those panics in API servers before 1.36.6 and 1.37.0
// (kubernetes/kubernetes#142181).

// asVariables are the steps that depend on nothing but the pod. The first ones, made
// by variables, are the constants: keys, spot, requirements, and of each policy its
// name, reason and tolerations, in order.
var asVariables = []struct{ name, expression string }{
	{"selector", `has(object.spec.nodeSelector) ? dyn(object.spec.nodeSelector) : dyn({})`},
	{"selectorKeys", `variables.keys.filter(k, k in variables.selector)`},
	{"selectorOnSpot", `variables.selectorKeys.exists(k, size(variables.spot[k]) == 0 || variables.selector[k] in variables.spot[k])`},
	{"hasAffinity", `has(object.spec.affinity)`},
	{"hasNodeAffinity", `variables.hasAffinity && has(object.spec.affinity.nodeAffinity)`},
	{"hasRequired", `variables.hasNodeAffinity && has(object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution)`},
	{"hasPreferred", `variables.hasNodeAffinity && has(object.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution)`},
	// A list without elements arrives as null: its field is written even when empty.
	{"terms", `variables.hasRequired && dyn(object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms) != null
		? dyn(object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms) : dyn([])`},
	{"preferences", `variables.hasPreferred ? dyn(object.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution) : dyn([])`},
	// What each term is: empty, open, ours (it holds all our requirements), spot or other.
	{"kinds", `variables.terms.map(t,
		!has(t.matchExpressions) ? (has(t.matchFields) ? "open" : "empty")
		: !t.matchExpressions.exists(e, e.key in variables.keys) ? "open"
		: ` + holdsAllExpression("t") + ` ? "ours"
		: ` + onlySpotExpression("t") + ` ? "spot" : "other")`},
	{"open", `variables.kinds.filter(k, k == "open").size()`},
	{"placed", `variables.open == 0 && "ours" in variables.kinds`},
	{"verdict", `variables.hasRequired && size(variables.terms) == 0 ? "InvalidAffinity"
		: size(variables.selectorKeys) > 0 ? (variables.selectorOnSpot ? "Contradiction" : "AuthorChose")
		: variables.open > ` + strconv.Itoa(maxTerms) + ` ? "TooManyTerms"
		: !variables.hasRequired || variables.open > 0 || variables.placed ? ""
		: variables.kinds.all(k, k == "empty") ? "EmptyTerms"
		: variables.kinds.all(k, k in ["empty", "spot"]) ? "Contradiction" : "AuthorChose"`},
	{"prefers", `variables.preferences.exists(p, p.weight == ` + strconv.Itoa(preferenceWeight) + ` && has(p.preference.matchExpressions) && ` + holdsAllExpression("p.preference") + `)`},
	{"prefersOtherwise", `variables.preferences.exists(p, has(p.preference.matchExpressions)
		&& p.preference.matchExpressions.exists(e, e.key in variables.keys)
		&& !(p.weight == ` + strconv.Itoa(preferenceWeight) + ` && ` + holdsAllExpression("p.preference") + `))`},
	{"wanted", `variables.reasons[variables.governing]`},
	{"reason", `variables.verdict != "" ? variables.verdict
		: variables.wanted != "PolicyPrefers" || variables.prefers ? variables.wanted
		: variables.placed || variables.prefersOtherwise ? "AuthorChose" : variables.wanted`},
	{"outcome", `variables.reason == "PolicyPrefers" ? "Preferred" : variables.reason in ["PolicyRequires", "PoolAutoscaled"] ? "Required" : "Unchanged"`},
	{"limited", `has(namespaceObject.metadata.annotations) && "` + tolerationsWhitelist + `" in namespaceObject.metadata.annotations
		&& namespaceObject.metadata.annotations["` + tolerationsWhitelist + `"] != ""`},
	{"ownTolerations", `has(object.spec.tolerations) ? dyn(object.spec.tolerations) : dyn([])`},
	{"newTolerations", `variables.outcome == "Unchanged" || variables.limited ? dyn([])
		: variables.tolerations[variables.governing].filter(w, !variables.ownTolerations.exists(h, ` + coversExpression + `))`},
	{"annotations", `has(object.metadata.annotations) ? dyn(object.metadata.annotations) : dyn({})`},
	{"record", `'{"policy":"' + variables.names[variables.governing] + '","decision":"' + variables.outcome + '","reason":"' + variables.reason + '"}'`},
	{"records", `variables.reason != "InvalidAffinity"
		&& !("` + DecisionAnnotation + `" in variables.annotations && variables.annotations["` + DecisionAnnotation + `"] == variables.record)
		&& variables.annotations.map(k, k == "` + DecisionAnnotation + `" ? 0 : size(bytes(k)) + size(bytes(variables.annotations[k]))).sum()
			+ size("` + DecisionAnnotation + `") + size(variables.record) <= ` + strconv.Itoa(maxAnnotations)},
	{"requiredValue", `{"nodeSelectorTerms": dyn([{"matchExpressions": dyn(variables.requirements)}])}`},
	{"preferredValue", `{"weight": dyn(` + strconv.Itoa(preferenceWeight) + `), "preference": dyn({"matchExpressions": dyn(variables.requirements)})}`},
	{"addsRequired", `variables.outcome == "Required" && !variables.hasRequired`},
	{"addsPreferred", `variables.outcome == "Preferred" && !variables.prefers`},
	{"nodeAffinityValue", `variables.addsRequired ? {"requiredDuringSchedulingIgnoredDuringExecution": dyn(variables.requiredValue)}
		: {"preferredDuringSchedulingIgnoredDuringExecution": dyn([variables.preferredValue])}`},
}

// holdsAllExpression asks what [ruleSet.holdsAll] asks of a term that has expressions.
func holdsAllExpression(term string) string {
	return `variables.requirements.all(r, ` + term + `.matchExpressions.exists(e, e.key == r.key && e.operator == r.operator
		&& (has(r.values) ? has(e.values) && e.values == r.values : !has(e.values))))`
}

// onlySpotExpression asks what [ruleSet.onlySpot] asks of a term that has expressions.
func onlySpotExpression(term string) string {
	return term + `.matchExpressions.exists(e, e.key in variables.keys
		&& (e.operator == "Exists" ? size(variables.spot[e.key]) == 0
			: e.operator == "In" && has(e.values) && (size(variables.spot[e.key]) == 0 || e.values.all(v, v in variables.spot[e.key]))))`
}

// coversExpression asks what [covers] asks, of h that the pod has and w that it wants.
const coversExpression = `!has(h.tolerationSeconds) && (!has(h.effect) || h.effect == "" || (has(w.effect) && h.effect == w.effect))
		&& (has(h.operator) && h.operator == "Exists" ? !has(h.key) || h.key == "" || h.key == w.key
			: (!has(h.operator) || h.operator in ["", "Equal"]) && has(h.key) && h.key == w.key
				&& w.operator == "Equal" && (has(h.value) ? h.value : "") == w.value)`

// patchExpression is what [Decision.Patch] does. JSON Patch is the only way: the lists
// of an affinity are atomic, and an apply configuration of them is refused. What the
// author wrote is appended to and never written again: the API server (1.37 was tried)
// does not turn a list of the pod's own objects back into JSON.
func patchExpression(requirements int) string {
	var toTerms strings.Builder
	for i := range requirements {
		_, _ = fmt.Fprintf(&toTerms, `
		+ variables.terms.transformList(i, t, variables.kinds[i] == "open" && has(t.matchExpressions), JSONPatch{
			op: "add", path: "%s/nodeSelectorTerms/" + string(i) + "/matchExpressions/-", value: variables.requirements[%d]})`, requiredPath, i)
	}
	return `variables.governing < 0 ? [] :
	(!variables.addsRequired && !variables.addsPreferred ? []
		: !variables.hasAffinity ? [JSONPatch{op: "add", path: "` + affinityPath + `", value: {"nodeAffinity": dyn(variables.nodeAffinityValue)}}]
		: !variables.hasNodeAffinity ? [JSONPatch{op: "add", path: "` + nodePath + `", value: variables.nodeAffinityValue}]
		: variables.addsRequired ? [JSONPatch{op: "add", path: "` + requiredPath + `", value: variables.requiredValue}]
		: !variables.hasPreferred ? [JSONPatch{op: "add", path: "` + preferredPath + `", value: [variables.preferredValue]}]
		: [JSONPatch{op: "add", path: "` + preferredPath + `/-", value: variables.preferredValue}])
	+ (variables.outcome != "Required" || variables.open == 0 ? []
		: variables.terms.transformList(i, t, variables.kinds[i] == "open" && !has(t.matchExpressions), JSONPatch{
			op: "add", path: "` + requiredPath + `/nodeSelectorTerms/" + string(i) + "/matchExpressions", value: variables.requirements})` + toTerms.String() + `)
	+ (size(variables.newTolerations) == 0 ? []
		: size(variables.ownTolerations) == 0 ? [JSONPatch{op: "add", path: "/spec/tolerations", value: variables.newTolerations}]
		: variables.newTolerations.map(w, JSONPatch{op: "add", path: "/spec/tolerations/-", value: w}))
	+ (!variables.records ? []
		: size(variables.annotations) == 0
		? [JSONPatch{op: "add", path: "/metadata/annotations", value: {"` + DecisionAnnotation + `": variables.record}}]
		: [JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("` + DecisionAnnotation + `"), value: variables.record}])`
}

// variables are the constants of the rules and policies, what each policy matches, and
// the steps. Matches has an expression for each policy.
func variables(policies Policies, matches []string, rules *ruleSet) []admissionv1.Variable {
	var keys, spot, requirements, names, reasons, tolerations, governing []string
	for i := range rules.marks {
		keys = append(keys, quote(rules.marks[i].Key))
		spot = append(spot, quote(rules.marks[i].Key)+": dyn("+quoteList(rules.marks[i].Values)+")")
		requirements = append(requirements, requirementLiteral(&rules.requirements[i]))
	}
	all := make([]admissionv1.Variable, 0, len(asVariables)+len(matches)+8)
	for i := range policies.ordered {
		p := &policies.ordered[i]
		reason := reasonFor(p, author{}, nil, nil)
		wanted := p.tolerations
		if reason.Outcome() == PlacedPreferred {
			wanted = slices.Concat(wanted, rules.soft)
		}
		names, reasons = append(names, quote(p.name)), append(reasons, quote(string(reason)))
		tolerations = append(tolerations, tolerationsLiteral(wanted))
		name := fmt.Sprintf("match%d", i)
		governing = append(governing, "variables."+name)
		all = append(all, admissionv1.Variable{Name: name, Expression: matches[i]})
	}
	list := func(elements []string) string { return "[" + strings.Join(elements, ", ") + "]" }
	all = append(all,
		// The first that matches; policies stand in the order in which they win.
		admissionv1.Variable{Name: "governing", Expression: list(governing) + ".indexOf(true)"},
		admissionv1.Variable{Name: "keys", Expression: list(keys)},
		admissionv1.Variable{Name: "spot", Expression: "{" + strings.Join(spot, ", ") + "}"},
		admissionv1.Variable{Name: "requirements", Expression: list(requirements)},
		admissionv1.Variable{Name: "names", Expression: list(names)},
		admissionv1.Variable{Name: "reasons", Expression: list(reasons)},
		admissionv1.Variable{Name: "tolerations", Expression: list(tolerations)},
	)
	for _, step := range asVariables {
		all = append(all, admissionv1.Variable{Name: step.name, Expression: step.expression})
	}
	return all
}

func requirementLiteral(r *corev1.NodeSelectorRequirement) string {
	literal := `{"key": dyn(` + quote(r.Key) + `), "operator": dyn(` + quote(string(r.Operator)) + `)`
	if len(r.Values) > 0 {
		literal += `, "values": dyn(` + quoteList(r.Values) + `)`
	}
	return literal + "}"
}

// tolerationsLiteral leaves out what others in the list make superfluous, as
// [changes.place] does one by one.
func tolerationsLiteral(tolerations []corev1.Toleration) string {
	var literals []string
	for i := range tolerations {
		t := &tolerations[i]
		superfluous := false
		for j := range i {
			superfluous = superfluous || covers(&tolerations[j], t)
		}
		if superfluous {
			continue
		}
		literal := `{"key": ` + quote(t.Key) + `, "operator": ` + quote(string(t.Operator))
		if t.Operator == corev1.TolerationOpEqual {
			literal += `, "value": ` + quote(t.Value)
		}
		if t.Effect != "" {
			literal += `, "effect": ` + quote(string(t.Effect))
		}
		literals = append(literals, literal+"}")
	}
	return "dyn([" + strings.Join(literals, ", ") + "])"
}
