package placementtest

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/charts"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// Within bounds each wait of a test for a state. It is long, so that only what never
// comes about fails a test on a machine that is busy.
const Within = time.Minute

// every is how often [Await] looks.
const every = 50 * time.Millisecond

// Await looks until reached returns nil, for [Within] at most; in vain, the test ends
// with the state's name and what reached returned last. It is called on the test's own
// goroutine.
func Await(t testing.TB, state string, reached func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), every, Within, true, func(ctx context.Context) (bool, error) {
		missing := reached(ctx)
		// A look that the deadline cut short says nothing of the state.
		if last == nil || ctx.Err() == nil {
			last = missing
		}
		return missing == nil, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v; last: %v", state, err, last)
	}
}

// InstallCRD installs the chart's CRD on the lab, unless another test has, and waits
// until the API server serves it. It stays when the test ends.
func InstallCRD(t testing.TB, l *lab.Lab) {
	t.Helper()
	if err := l.Apply(t.Context(), "", charts.PlacementPolicies); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	Await(t, "the API server to serve the CRD", func(context.Context) error {
		_, err := l.Client().Discovery().ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
		return err
	})
}
