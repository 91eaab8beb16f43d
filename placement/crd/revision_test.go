package crd

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// revisions has a line for each revision that there has been: its number and the SHA-256
// of its spec as JSON.
const revisions = "testdata/revisions"

// A CRD that changes and keeps its number would reach nobody who has the one before.
func TestTheRevisionIsRaisedWithEveryChangeOfTheCRD(t *testing.T) {
	t.Parallel()
	wanted, err := Wanted()
	if err != nil {
		t.Fatal(err)
	}
	number, err := RevisionOf(wanted)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(wanted.Object["spec"]) // in the order of the keys
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(revisions)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, fmt.Sprintf("%d ", i+1)) {
			t.Errorf("line %d of %s is %q", i+1, revisions, line)
		}
	}
	if is := fmt.Sprintf("%d %x", number, sha256.Sum256(spec)); lines[len(lines)-1] != is {
		t.Errorf("the CRD has changed: raise %s in api/v1alpha1 to %d, make generate, and add to %s the line that this test asks for then\n%s",
			RevisionAnnotation, len(lines)+1, revisions, is)
	}
}

func TestARevisionIsRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		annotations map[string]string
		want        Revision
		fails       bool
	}{
		"from its annotation":                {annotations: map[string]string{RevisionAnnotation: "12"}, want: 12},
		"as the oldest, when there is none":  {annotations: map[string]string{"other": "12"}},
		"and not from what is no number":     {annotations: map[string]string{RevisionAnnotation: "v2"}, fails: true},
		"and not from what is below nothing": {annotations: map[string]string{RevisionAnnotation: "-1"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crd := &unstructured.Unstructured{}
			crd.SetAnnotations(c.annotations)
			got, err := RevisionOf(crd)
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("%d, %v; want %d, failure: %t", got, err, c.want, c.fails)
			}
		})
	}
}
