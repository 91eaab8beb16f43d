package placement

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// The same questions that Decide asks of a pod, in CEL, as an admission webhook's
// matchConditions and a MutatingAdmissionPolicy ask them. Every access is guarded by
// has(): a field that is empty is absent in CEL, and an error there means that the
// pod is let through unplaced.

const (
	labelsPath      = "object.metadata.labels"
	annotationsPath = "object.metadata.annotations"
	ownersPath      = "object.metadata.ownerReferences"
)

// exemptions are the pods that are never placed, each as the condition of the pods
// that are; named after the reasons that Decide gives.
var exemptions = []struct{ name, expression string }{
	{"not-bound", `!has(object.spec.nodeName) || object.spec.nodeName == ""`},
	{"not-mirror", not(hasKey(annotationsPath, "kubernetes.io/config.mirror")) +
		` && !(has(` + ownersPath + `) && ` + ownersPath + `.exists(o, o.kind == "Node" && o.apiVersion == "v1"))`},
	{"not-daemonset", `!(has(` + ownersPath + `) && ` + ownersPath + `.exists(o, has(o.controller) && o.controller && o.kind == "DaemonSet"))`},
	{"not-opted-out", not(hasValue(annotationsPath, OverrideAnnotation, OverrideAny))},
}

// matchExpression is what [policy.matches] asks. InNamespace is the condition on the
// namespace, empty for none: whether there is a namespace to ask depends on who asks.
func matchExpression(p *policy, inNamespace string) string {
	var all []string
	if inNamespace != "" {
		all = append(all, inNamespace)
	}
	if p.pods != nil {
		all = append(all, selectorExpression(p.pods, labelsPath))
	}
	if classes := p.match.PriorityClassNames; len(classes) > 0 {
		all = append(all, "(has(object.spec.priorityClassName) && object.spec.priorityClassName in "+quoteList(classes)+")")
	}
	if wanted := p.match.Owners; len(wanted) > 0 {
		all = append(all, ownersExpression(wanted))
	}
	if len(all) == 0 {
		return "true"
	}
	return strings.Join(all, " && ")
}

// selectorExpression asks what the selector asks of the labels at path.
func selectorExpression(s labels.Selector, path string) string {
	requirements, selectable := s.Requirements()
	if !selectable {
		return "false"
	}
	all := make([]string, 0, len(requirements))
	for i := range requirements {
		all = append(all, requirementExpression(&requirements[i], path))
	}
	if len(all) == 0 {
		return "true"
	}
	return strings.Join(all, " && ")
}

func requirementExpression(r *labels.Requirement, path string) string {
	present := hasKey(path, r.Key())
	switch r.Operator() {
	case selection.Exists:
		return present
	case selection.DoesNotExist:
		return not(present)
	case selection.In, selection.Equals, selection.DoubleEquals:
		return hasValueIn(path, r.Key(), r.ValuesUnsorted())
	case selection.NotIn, selection.NotEquals:
		return not(hasValueIn(path, r.Key(), r.ValuesUnsorted()))
	case selection.GreaterThan, selection.LessThan: // a LabelSelector has no such operator
	}
	return "false"
}

// ownersExpression asks what [workloads] and [glob] ask.
func ownersExpression(wanted []v1alpha1.Owner) string {
	anyOf := make([]string, 0, len(wanted))
	for _, owner := range wanted {
		matches := func(name string) string {
			if owner.Name == "" {
				return "true"
			}
			return name + ".matches(" + quote(globPattern(owner.Name)) + ")"
		}
		anyOf = append(anyOf, "(o.kind == "+quote(owner.Kind)+" && "+matches("o.name")+")")
		if label := hashLabel(owner.Kind); label != "" {
			hash := labelsPath + "[" + quote(label) + "]"
			anyOf = append(anyOf, fmt.Sprintf(
				`(o.kind == "ReplicaSet" && %s && %s != "" && size(o.name) > size(%s) + 1 && o.name.endsWith("-" + %s) && %s)`,
				hasKey(labelsPath, label), hash, hash, hash, matches("o.name.substring(0, size(o.name) - size("+hash+") - 1)")))
		}
	}
	return "(has(" + ownersPath + ") && " + ownersPath + ".exists(o, has(o.controller) && o.controller && (" + strings.Join(anyOf, " || ") + ")))"
}

// globPattern is a glob as a regular expression; CEL has no globs.
func globPattern(glob string) string {
	var pattern strings.Builder
	pattern.WriteString("^")
	for _, r := range glob {
		switch r {
		case '*':
			pattern.WriteString(".*")
		case '?':
			pattern.WriteString(".")
		case '.':
			pattern.WriteString(`\.`)
		default:
			pattern.WriteRune(r)
		}
	}
	pattern.WriteString("$")
	return pattern.String()
}

func hasKey(path, key string) string {
	return "(has(" + path + ") && " + quote(key) + " in " + path + ")"
}

func hasValue(path, key, value string) string {
	return "(" + hasKey(path, key) + " && " + path + "[" + quote(key) + "] == " + quote(value) + ")"
}

func hasValueIn(path, key string, values []string) string {
	return "(" + hasKey(path, key) + " && " + path + "[" + quote(key) + "] in " + quoteList(values) + ")"
}

func not(expression string) string { return "!" + expression }

// quote writes a CEL string. Go's escapes are a subset of CEL's.
func quote(s string) string { return strconv.QuoteToASCII(s) }

func quoteList(values []string) string {
	quoted := make([]string, 0, len(values))
	for _, value := range values {
		quoted = append(quoted, quote(value))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
