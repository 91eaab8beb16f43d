package crd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// cluster is a lab of the test's own: the CRD is everybody's.
type cluster struct {
	*lab.Lab
	client   dynamic.Interface
	registry *prometheus.Registry
	upgrader *Upgrader
}

// newCluster serves a CRD of before: without a number, and without the field
// pendingTimeout and what is said of it.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	l := lab.New(t)
	client, err := dynamic.NewForConfig(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Lab: l, client: client, registry: prometheus.NewRegistry()}
	if c.upgrader, err = New(client, c.registry, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	old := c.upgrader.wanted.DeepCopy()
	old.SetAnnotations(nil)
	for _, schema := range specSchemas(t, old) {
		unstructured.RemoveNestedField(schema, "properties", "pendingTimeout")
		unstructured.RemoveNestedField(schema, "x-kubernetes-validations")
	}
	if _, err := client.Resource(resource).Create(t.Context(), old, metav1.CreateOptions{FieldManager: "helm"}); err != nil {
		t.Fatal(err)
	}
	placementtest.Await(t, "the API server to serve the old CRD", func(context.Context) error {
		_, err := l.Client().Discovery().ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
		return err
	})
	return c
}

// specSchemas are those of a policy's spec, one for each version. They are part of the
// CRD.
func specSchemas(t *testing.T, crd *unstructured.Unstructured) []map[string]any {
	t.Helper()
	spec, _ := crd.Object["spec"].(map[string]any)
	versions, _ := spec["versions"].([]any)
	schemas := make([]map[string]any, 0, len(versions))
	for _, version := range versions {
		at, _ := version.(map[string]any)
		for _, field := range []string{"schema", "openAPIV3Schema", "properties", "spec"} {
			at, _ = at[field].(map[string]any)
		}
		schemas = append(schemas, at)
	}
	if len(schemas) == 0 || len(schemas[0]) == 0 {
		t.Fatal("the CRD has no schema of a spec")
	}
	return schemas
}

func (c *cluster) served(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	served, err := c.upgrader.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return served
}

// apply writes a policy with the new field, strictly, as kubectl does.
func (c *cluster) apply(ctx context.Context, name string) error {
	policy := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"pendingTimeout": "90s", "match": map[string]any{"priorityClassNames": []any{"critical"}},
	}}}
	policy.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PlacementPolicy"))
	policy.SetName(name)
	_, err := c.client.Resource(v1alpha1.PlacementPolicies).Create(ctx, policy, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	return err
}

// follow watches the policies as every replica does, until the test ends, and returns
// what names those that are known.
func (c *cluster) follow(t *testing.T) (known func() []string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	factory := dynamicinformer.NewDynamicSharedInformerFactory(c.client, 0)
	informer := factory.ForResource(v1alpha1.PlacementPolicies).Informer()
	factory.Start(ctx.Done())
	t.Cleanup(func() {
		stop()
		factory.Shutdown()
	})
	factory.WaitForCacheSync(ctx.Done())
	return informer.GetStore().ListKeys
}

func TestAnOlderCRDIsReplacedAndANewerOneIsNot(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	before := c.served(t)
	if err := c.apply(t.Context(), "early"); !apierrors.IsBadRequest(err) {
		t.Fatalf("the old CRD takes the new field: %v", err)
	}
	known := c.follow(t)
	if err := c.upgrader.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	upgraded := c.served(t)
	if diff := cmp.Diff(specSchemas(t, c.upgrader.wanted), specSchemas(t, upgraded)); diff != "" {
		t.Errorf("schemas (-own +served):\n%s", diff)
	}
	if revision, err := RevisionOf(upgraded); err != nil || revision != c.upgrader.offered || upgraded.GetUID() != before.GetUID() {
		t.Errorf("it has the revision %d (%v) and the UID %q, want %d and %q", revision, err, upgraded.GetUID(), c.upgrader.offered, before.GetUID())
	}
	// The API server takes the schema into use a moment after it has taken the CRD.
	placementtest.Await(t, "a policy with the new field", func(ctx context.Context) error { return c.apply(ctx, "late") })
	placementtest.Await(t, "a replica of before to know it", func(context.Context) error {
		if names := known(); !slices.Contains(names, "late") {
			return fmt.Errorf("it knows %q", names)
		}
		return nil
	})

	// Of an interrupted upgrade the next leader finds nothing to do; and one who looked
	// before somebody else wrote does not write.
	if err := c.upgrader.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := c.served(t); again.GetResourceVersion() != upgraded.GetResourceVersion() {
		t.Error("it was written though it was up to date")
	}
	if err := c.upgrader.apply(t.Context(), before); !apierrors.IsConflict(err) {
		t.Errorf("it was written over what somebody else wrote: %v", err)
	}

	newer := upgraded.DeepCopy()
	newer.SetAnnotations(map[string]string{RevisionAnnotation: fmt.Sprint(c.upgrader.offered + 1)})
	newer, err := c.client.Resource(resource).Update(t.Context(), newer, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.upgrader.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := c.served(t); now.GetResourceVersion() != newer.GetResourceVersion() {
		t.Error("a newer CRD was replaced")
	}
	for outcome, want := range map[string]float64{upgradeApplied: 1, upgradeFailed: 0} {
		if got := placementtest.Metric(t, c.registry, "ebbtide_placement_crd_upgrades_total", outcome); got != want {
			t.Errorf("%v upgrades are counted as %s, want %v", got, outcome, want)
		}
	}
}

// It ends by itself only when it has succeeded: somebody may grant the right later.
func TestAnUpgradeThatFailsIsCountedAndEndsWithTheTerm(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t) // without the CRD
	client, err := dynamic.NewForConfig(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	upgrader, err := New(client, registry, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- upgrader.Run(ctx) }()
	placementtest.Await(t, "the failure to be counted", func(context.Context) error {
		if placementtest.Metric(t, registry, "ebbtide_placement_crd_upgrades_total", upgradeFailed) == 0 {
			return errors.New("it was not so far")
		}
		return nil
	})
	select {
	case err := <-ended:
		t.Fatalf("it has given up: %v", err)
	default:
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
