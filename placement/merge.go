package placement

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// maxTerms is how many terms are added to. Our requirements take about 1.5 KiB in
// each, and an object of 1.5 MiB cannot be stored; nobody writes a tenth of this.
const maxTerms = 100

// preferenceWeight is the highest that there is. It only weighs against the author's
// own preferences; see [Rules.WithSoftTaints] for what else weighs.
const preferenceWeight = 100

// author is what the pod's author already said about nodes.
type author struct {
	// selectorKey is a marked key in the nodeSelector; onSpot, that it asks for spot.
	selectorKey string
	onSpot      bool
	// required is true when there is a required node affinity; terms are its terms.
	required bool
	terms    int
	// open are the terms that say nothing about spot: ours to add to. Empty ones match
	// no node and are not among them: with an addition they would match some.
	open []int
	// placed is true when there is no open term and one holds all our requirements.
	placed bool
	// termKey is a marked key in a term; spotTerms counts the terms that only match
	// spot nodes, mentions those that have a marked key at all.
	termKey   string
	spotTerms int
	mentions  int
	// preferred is true when our preference is there; preferenceKey is a marked key in
	// a preference of the author's own.
	preferred     bool
	preferenceKey string
}

func readAuthor(spec *corev1.PodSpec, rules *ruleSet) author {
	var a author
	for i := range rules.marks { // in this order, so that the same key is named each time
		mark := &rules.marks[i]
		if _, found := spec.NodeSelector[mark.Key]; !found {
			continue
		}
		if on := mark.on(spec.NodeSelector); a.selectorKey == "" || on && !a.onSpot {
			a.selectorKey, a.onSpot = mark.Key, on
		}
	}
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return a
	}
	if required := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		a.required = true
		a.readTerms(required.NodeSelectorTerms, rules)
	}
	for i := range spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		term := &spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i]
		key := rules.keyIn(&term.Preference)
		switch {
		case key == "":
		case term.Weight == preferenceWeight && rules.holdsAll(&term.Preference):
			a.preferred = true
		case a.preferenceKey == "":
			a.preferenceKey = key
		}
	}
	return a
}

func (a *author) readTerms(terms []corev1.NodeSelectorTerm, rules *ruleSet) {
	a.terms = len(terms)
	complete := 0
	for i := range terms {
		term := &terms[i]
		if len(term.MatchExpressions) == 0 && len(term.MatchFields) == 0 {
			continue
		}
		key := rules.keyIn(term)
		switch {
		case key == "":
			a.open = append(a.open, i)
			continue
		case rules.holdsAll(term):
			complete++
		case rules.onlySpot(term):
			a.spotTerms++
		}
		a.mentions++
		if a.termKey == "" {
			a.termKey = key
		}
	}
	a.placed = len(a.open) == 0 && complete > 0
}

// verdict gives the reason to leave the pod as it is, whatever the mode, with the key
// that it speaks of; or none.
func (a *author) verdict() (reason Reason, key string) {
	switch {
	case a.required && a.terms == 0:
		return InvalidAffinity, ""
	case a.selectorKey != "" && a.onSpot:
		return Contradiction, a.selectorKey
	case a.selectorKey != "":
		return AuthorChose, a.selectorKey
	case len(a.open) > maxTerms:
		return TooManyTerms, ""
	case !a.required || len(a.open) > 0 || a.placed:
		return "", ""
	case a.mentions == 0:
		return EmptyTerms, ""
	case a.spotTerms == a.mentions:
		return Contradiction, a.termKey
	}
	return AuthorChose, a.termKey
}

// OnlySpot says whether a pod with this spec can run on spot nodes only, because its
// author asks for them, and by which label. It is how a DaemonSet that a policy cannot
// help is found.
func (r Rules) OnlySpot(spec *corev1.PodSpec) (key string, only bool) {
	chosen := readAuthor(spec, r.get())
	reason, key := chosen.verdict()
	if reason != Contradiction {
		return "", false
	}
	return key, true
}

// keyIn returns a marked key that the term speaks of, or none.
func (s *ruleSet) keyIn(term *corev1.NodeSelectorTerm) string {
	for i := range term.MatchExpressions {
		if _, marked := s.byKey[term.MatchExpressions[i].Key]; marked {
			return term.MatchExpressions[i].Key
		}
	}
	return ""
}

// holdsAll says whether the term holds all our requirements.
func (s *ruleSet) holdsAll(term *corev1.NodeSelectorTerm) bool {
	if len(term.MatchExpressions) < len(s.requirements) {
		return false
	}
	for i := range s.requirements {
		if !slices.ContainsFunc(term.MatchExpressions, func(e corev1.NodeSelectorRequirement) bool {
			return sameRequirement(&e, &s.requirements[i])
		}) {
			return false
		}
	}
	return true
}

func sameRequirement(a, b *corev1.NodeSelectorRequirement) bool {
	return a.Key == b.Key && a.Operator == b.Operator && slices.Equal(a.Values, b.Values)
}

// onlySpot says whether the term matches nodes with a mark only.
func (s *ruleSet) onlySpot(term *corev1.NodeSelectorTerm) bool {
	return slices.ContainsFunc(term.MatchExpressions, func(e corev1.NodeSelectorRequirement) bool {
		at, marked := s.byKey[e.Key]
		if !marked {
			return false
		}
		values := s.marks[at].Values
		switch e.Operator {
		case corev1.NodeSelectorOpExists:
			return len(values) == 0
		case corev1.NodeSelectorOpIn:
			return len(e.Values) > 0 && (len(values) == 0 || !slices.ContainsFunc(e.Values, func(v string) bool { return !slices.Contains(values, v) }))
		case corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		}
		return false
	})
}

// covers says whether a pod that tolerates have gains nothing by want.
func covers(have, want *corev1.Toleration) bool {
	switch {
	case have.TolerationSeconds != nil, have.Effect != "" && have.Effect != want.Effect:
		return false
	case have.Operator == corev1.TolerationOpExists:
		return have.Key == "" || have.Key == want.Key
	case have.Operator != "" && have.Operator != corev1.TolerationOpEqual:
		return false
	}
	return have.Key == want.Key && want.Operator == corev1.TolerationOpEqual && have.Value == want.Value
}
