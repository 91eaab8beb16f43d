package crd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
)

// FieldManager owns the CRD that was upgraded.
const FieldManager = "ebbtide-crds"

const (
	// callWithin bounds one request, establishWithin the time until the API server says
	// that it serves what it has taken: it has done so before, and goes on.
	callWithin      = 10 * time.Second
	establishWithin = 30 * time.Second
	establishLook   = 250 * time.Millisecond
)

// retry is the pause after an upgrade that failed. What is in the way, a right that is
// missing for one, mostly stays there until somebody acts.
var retry = wait.Backoff{Duration: 10 * time.Second, Factor: 2, Jitter: 0.1, Steps: 10, Cap: 10 * time.Minute}

var resource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Upgrader replaces a served CRD that is older than its own.
//
// Permissions: get and patch of the one customresourcedefinition.
type Upgrader struct {
	client  dynamic.Interface
	wanted  *unstructured.Unstructured
	offered Revision
	metrics *metrics
	log     *slog.Logger
}

// New returns an upgrader to the chart's CRD. It asks nothing of the API server yet.
func New(client dynamic.Interface, registry prometheus.Registerer, log *slog.Logger) (*Upgrader, error) {
	wanted, err := Wanted()
	if err != nil {
		return nil, err
	}
	offered, err := RevisionOf(wanted)
	if err != nil {
		return nil, err
	}
	return &Upgrader{client: client, wanted: wanted, offered: offered, metrics: newMetrics(registry), log: log}, nil
}

// Run upgrades the CRD, if it is older, and returns nil when that is done or not needed,
// or when ctx has ended. It tries again for as long as it fails: a program that reads
// policies of before is better than none.
func (u *Upgrader) Run(ctx context.Context) error {
	backoff := retry
	for {
		err := u.upgrade(ctx)
		if err == nil || ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no failure
		}
		u.metrics.upgrades[upgradeFailed].Inc()
		pause := backoff.Step()
		u.log.WarnContext(ctx, "Left CRD as it was", "crd", u.wanted.GetName(), "retryAfter", pause.Seconds(), "err", err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (u *Upgrader) upgrade(ctx context.Context) error {
	served, err := u.get(ctx)
	if err != nil {
		return err
	}
	revision, err := RevisionOf(served)
	if err != nil {
		return err
	}
	if revision >= u.offered {
		if revision > u.offered {
			u.log.InfoContext(ctx, "Found newer CRD", "crd", u.wanted.GetName(), "revision", revision, "own", u.offered)
		}
		return nil
	}
	if err := u.apply(ctx, served); err != nil {
		return err
	}
	if err := u.awaitEstablished(ctx); err != nil {
		return err
	}
	u.metrics.upgrades[upgradeApplied].Inc()
	u.log.InfoContext(ctx, "Upgraded CRD", "crd", u.wanted.GetName(), "from", revision, "to", u.offered)
	return nil
}

func (u *Upgrader) get(ctx context.Context) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	served, err := u.client.Resource(resource).Get(ctx, u.wanted.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading CRD %q: %w", u.wanted.GetName(), err)
	}
	return served, nil
}

// apply writes the CRD in the place of the one that was looked at and of no other: a
// newer release may lead by now. Its versions are one value to the API, so that no part
// of an old schema stays.
func (u *Upgrader) apply(ctx context.Context, served *unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	wanted := u.wanted.DeepCopy()
	wanted.SetUID(served.GetUID())
	wanted.SetResourceVersion(served.GetResourceVersion())
	_, err := u.client.Resource(resource).Apply(ctx, wanted.GetName(), wanted, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("upgrading CRD %q: %w", wanted.GetName(), err)
	}
	return nil
}

var errNotEstablished = errors.New("its condition Established is not True")

func (u *Upgrader) awaitEstablished(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, establishWithin)
	defer cancel()
	last := errNotEstablished
	err := wait.PollUntilContextCancel(ctx, establishLook, true, func(ctx context.Context) (bool, error) {
		served, err := u.get(ctx)
		if err != nil {
			last = err
			return false, nil //nolint:nilerr // it is asked again, and told in the end
		}
		last = errNotEstablished
		return isEstablished(served), nil
	})
	if err != nil {
		return fmt.Errorf("awaiting CRD %q: %w", u.wanted.GetName(), last)
	}
	return nil
}

func isEstablished(crd *unstructured.Unstructured) bool {
	conditions, _, err := unstructured.NestedSlice(crd.Object, "status", "conditions")
	if err != nil {
		return false
	}
	for _, one := range conditions {
		condition, is := one.(map[string]any)
		if is && condition["type"] == "Established" {
			return condition["status"] == string(metav1.ConditionTrue)
		}
	}
	return false
}
