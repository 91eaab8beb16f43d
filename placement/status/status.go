// Package status writes what policies say of themselves. Several parts of the program do,
// each its own conditions: server-side apply, by a field manager for each of them, keeps
// them apart.
package status

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

const (
	// maxMessage is how long a condition's message may be, in bytes; the CRD says so.
	maxMessage = 32 << 10
	// writeWithin bounds a write: an admission webhook may hang in its way.
	writeWithin = 10 * time.Second
)

// Message returns a text as the message of a condition, cut where it is too long for one.
func Message(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "")
}

// Write has a policy say what a manager has to say of it, and returns the policy as it
// is then. What others say stays; what the manager said before and says no more goes. The
// zero status says nothing. Of a policy that was deleted meanwhile nil is returned.
func Write(ctx context.Context, client dynamic.Interface, manager, name string, says v1alpha1.PlacementPolicyStatus) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	policy := &unstructured.Unstructured{Object: map[string]any{}}
	if !equality.Semantic.DeepEqual(says, v1alpha1.PlacementPolicyStatus{}) { // the CRD takes no empty status
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&says)
		if err != nil {
			return nil, fmt.Errorf("encoding the status of policy %q: %w", name, err)
		}
		policy.Object["status"] = fields
	}
	policy.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PlacementPolicy"))
	policy.SetName(name)
	written, err := client.Resource(v1alpha1.PlacementPolicies).ApplyStatus(ctx, name, policy, metav1.ApplyOptions{FieldManager: manager, Force: true})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // as it is said above
	case err != nil:
		return nil, fmt.Errorf("writing the status of policy %q: %w", name, err)
	}
	return written, nil
}
