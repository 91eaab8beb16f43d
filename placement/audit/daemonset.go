package audit

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/ebbtide/ebbtide/placement"
)

// SpotDaemonSet is a DaemonSet whose pods are said to be critical, and which lets them
// run on spot nodes only.
type SpotDaemonSet struct {
	DaemonSet *appsv1.DaemonSet
	// Policy matches its pods; empty when its own annotation asks for long-lived nodes.
	Policy string
	// Key is the node label by which it asks for spot nodes.
	Key string
}

// SpotDaemonSets finds the DaemonSets that a policy means and cannot help: their pods
// are never placed, and the webhook does not see them. It judges by the templates, for
// the pods do not tell: their controller puts the name of the node in the place of the
// required terms of their affinity. One whose template opts out is not meant.
func SpotDaemonSets(view View, daemonSets []appsv1.DaemonSet, rules placement.Rules) ([]SpotDaemonSet, error) {
	policies, _ := placement.Compile(view.Policies) // a rejected one says so in its status
	var found []SpotDaemonSet
	for i := range daemonSets {
		daemonSet := &daemonSets[i]
		key, only := rules.OnlySpot(&daemonSet.Spec.Template.Spec)
		if !only || daemonSet.DeletionTimestamp != nil {
			continue
		}
		pod, err := placement.PodOf(daemonSet)
		if err != nil {
			return nil, err
		}
		// A policy governs no pod of a DaemonSet; it is asked about one that is nobody's.
		pod.OwnerReferences = nil
		switch governing := policies.Governing(pod, view.namespace(daemonSet.Namespace)); {
		case len(governing) > 0:
			found = append(found, SpotDaemonSet{DaemonSet: daemonSet, Policy: governing[0], Key: key})
		case pod.Annotations[placement.OverrideAnnotation] == placement.OverrideLongLived:
			found = append(found, SpotDaemonSet{DaemonSet: daemonSet, Key: key})
		}
	}
	slices.SortFunc(found, func(x, y SpotDaemonSet) int {
		return cmp.Or(cmp.Compare(x.DaemonSet.Namespace, y.DaemonSet.Namespace), cmp.Compare(x.DaemonSet.Name, y.DaemonSet.Name))
	})
	return found, nil
}

// Message says what is wrong and what can be done about it. It begins in lower case and
// has no full stop at its end.
func (s SpotDaemonSet) Message() string {
	by := "the annotation " + placement.OverrideAnnotation
	if s.Policy != "" {
		by = fmt.Sprintf("policy %q", s.Policy)
	}
	return fmt.Sprintf("by %s its pods belong on long-lived nodes, and by its template they run on spot nodes only (%s); "+
		"pods of a DaemonSet are never placed: change the template, or annotate it with %s=%s if this is meant",
		by, s.Key, placement.OverrideAnnotation, placement.OverrideAny)
}
