package crd

import (
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/charts"
)

// RevisionAnnotation holds the [Revision] of a CRD. Its value is set in api/v1alpha1.
const RevisionAnnotation = "ebbtide.dev/crd-revision"

// Revision says which of two CRDs is newer: the one with the higher.
type Revision uint

// RevisionOf reads the revision of a CRD; 0 when it carries none. It fails when that is
// no number, which nobody of us has written.
func RevisionOf(crd metav1.Object) (Revision, error) {
	text, found := crd.GetAnnotations()[RevisionAnnotation]
	if !found {
		return 0, nil
	}
	revision, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("reading annotation %q of CRD %q: %w", RevisionAnnotation, crd.GetName(), err)
	}
	return Revision(revision), nil
}

// Wanted returns the CRD that this program was built with: the chart's.
func Wanted() (*unstructured.Unstructured, error) {
	crd := &unstructured.Unstructured{}
	encoded, err := yaml.YAMLToJSON([]byte(charts.PlacementPolicies))
	if err == nil {
		err = crd.UnmarshalJSON(encoded)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the chart's CRD: %w", err)
	}
	return crd, nil
}
