package placementrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/charts"
	"github.com/ebbtide/ebbtide/e2e/internal/programrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// The names of what an installation consists of.
const (
	// Namespace is the replicas' own, unless the options say otherwise.
	Namespace = "ebbtide"
	// Secret is where the certificate is kept.
	Secret = "ebbtide-placement-certificate" //nolint:gosec // G101: it is the name of one.
	// Configuration is the MutatingWebhookConfiguration that the replicas keep.
	Configuration = "ebbtide-placement"
	// account is who the replicas are.
	account = "ebbtide-placement"
)

// InstallOptions choose an installation. The zero value is the usual one, without
// policies.
type InstallOptions struct {
	// Namespace of the replicas; empty is [Namespace].
	Namespace string
	// Policies is a YAML text of PlacementPolicies.
	Policies string
}

// Installation is what the chart makes in a cluster, but for the replicas: the CRD, the
// namespace with the empty Secret, the account with its rights, and the policies. A
// cluster has room for one: webhooks look at all namespaces.
type Installation struct {
	// Front is what the API server calls.
	Front *Front

	lab                   *lab.Lab
	namespace, kubeconfig string
}

// Install makes an installation. The caller closes its Front; the rest goes with the
// lab.
func Install(ctx context.Context, l *lab.Lab, options InstallOptions) (_ *Installation, err error) {
	front, err := StartFront(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, front.Close())
		}
	}()
	i := &Installation{Front: front, lab: l, namespace: cmp.Or(options.Namespace, Namespace)}
	if err := i.installCRD(ctx); err != nil {
		return nil, err
	}
	// With the account comes its namespace.
	if i.kubeconfig, err = l.ServiceAccount(ctx, i.namespace, account, PolicyRules()); err != nil {
		return nil, err
	}
	empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: Secret}}
	if _, err := l.Client().CoreV1().Secrets(i.namespace).Create(ctx, empty, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("creating Secret %q: %w", Secret, err)
	}
	if err := l.Apply(ctx, "", options.Policies); err != nil {
		return nil, err
	}
	return i, nil
}

// Namespace returns the replicas' namespace.
func (i *Installation) Namespace() string { return i.namespace }

// User returns the user name of the replicas' account, for [lab.Lab.Requests].
func (i *Installation) User() string { return lab.ServiceAccountUser(i.namespace, account) }

// servedWithin is how long an API server may take to serve a CRD that it was given.
const servedWithin = 30 * time.Second

// installCRD applies the chart's CRD, unless it is there, and waits until it is served.
func (i *Installation) installCRD(ctx context.Context) error {
	if err := i.lab.Apply(ctx, "", charts.PlacementPolicies); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, servedWithin, true, func(context.Context) (bool, error) {
		_, err := i.lab.Client().Discovery().ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the API server to serve the CRD: %w", err)
	}
	return nil
}

// APIServerMetrics returns every series that the API server shows, by its name as the
// Metrics of a replica do.
func (i *Installation) APIServerMetrics(ctx context.Context) (map[string]float64, error) {
	page, err := i.lab.Client().CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading metrics of the API server: %w", err)
	}
	return programrun.ParseMetrics(string(page))
}
