package certificate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

const changesTotal = "ebbtide_placement_certificate_changes_total"

// Every pod that is created asks both replicas with a handshake of its own, and is
// refused when one of them fails.
func TestNoCallFailsWhileEverythingRotates(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{Periods: quick}, nil)
	const lasting = 20 * time.Second
	created := c.load(lasting, func() {
		timer := time.NewTimer(lasting / 2)
		defer timer.Stop()
		<-timer.C
		// In the middle of it all, somebody empties the Secret.
		c.data(nil)
	})
	changes := map[Change]float64{}
	for _, change := range Changes() {
		for _, r := range c.replicas {
			changes[change] += placementtest.Metric(t, r.registry, changesTotal, string(change))
		}
	}
	t.Logf("%d pods were created; steps: %v; certificates served: %d and %d", created, changes, c.replicas[0].served(), c.replicas[1].served())
	if created < 100 {
		t.Errorf("%d pods were created only", created)
	}
	if changes[Switched] < 4 || changes[Renewed] < 4 {
		t.Errorf("the CA was switched %v times and the certificate renewed %v times only", changes[Switched], changes[Renewed])
	}
	if changes[Started] != 1 {
		t.Errorf("%v replicas started a CA, want one, whose the other takes", changes[Started])
	}
	for i, r := range c.replicas {
		if r.served() < 8 {
			t.Errorf("replica %d served %d certificates only", i, r.served())
		}
	}
}

func TestACABundleThatIsEditedByHandIsPutRight(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{}, nil)
	configurations := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	edits := map[string]string{
		"one entry is emptied": `[{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]`,
		"every entry is emptied": `[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"},
			{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]`,
	}
	for name, edit := range edits {
		before, err := configurations.Get(t.Context(), c.namespace, metav1.GetOptions{})
		c.must(err)
		_, err = configurations.Patch(t.Context(), c.namespace, types.JSONPatchType, []byte(edit), metav1.PatchOptions{})
		c.must(err)
		placementtest.Await(c, "the caBundle to be back after "+name, func(ctx context.Context) error {
			after, err := configurations.Get(ctx, c.namespace, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for i := range after.Webhooks {
				if !bytes.Equal(after.Webhooks[i].ClientConfig.CABundle, before.Webhooks[i].ClientConfig.CABundle) {
					return fmt.Errorf("entry %d differs", i)
				}
				if after.Webhooks[i].ClientConfig.URL == nil || after.Webhooks[i].TimeoutSeconds == nil {
					return fmt.Errorf("entry %d lost what is another's", i)
				}
			}
			return nil
		})
		placementtest.Await(c, "a pod to be created", c.create)
	}
}

// given is a Secret as somebody else may keep it.
func given(t *testing.T, life time.Duration) map[string][]byte {
	t.Helper()
	now := time.Now()
	authority, err := newAuthority(time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	serving, err := sign(authority, []string{"127.0.0.1"}, life, now)
	if err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{}
	if err := errors.Join(
		encodePair(data, authorityCertKey, authorityKeyKey, authority), encodePair(data, servingCertKey, servingKeyKey, serving),
	); err != nil {
		t.Fatal(err)
	}
	delete(data, authorityKeyKey)
	return data
}

func TestAGivenSecretMayChangeItsCAFromOneMomentToTheNext(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{Mode: Given, Periods: Periods{Settle: time.Second}}, given(t, time.Hour))
	created := c.load(10*time.Second, func() {
		for want := 2; want <= 3; want++ {
			c.data(given(t, time.Hour))
			for _, r := range c.replicas {
				placementtest.Await(c, "the new certificate to be served", func(context.Context) error {
					if got := r.served(); got < want {
						return fmt.Errorf("%d were served, want %d", got, want)
					}
					return nil
				})
			}
		}
	})
	t.Logf("%d pods were created", created)

	const usable = "ebbtide_placement_certificate_secret_usable"
	c.data(given(t, -time.Minute))
	for _, r := range c.replicas {
		placementtest.Await(c, "the expired Secret to be noticed", func(context.Context) error {
			if placementtest.Metric(t, r.registry, usable) != 0 {
				return errors.New("it counts as usable")
			}
			return nil
		})
		if err := r.keeper.Ready(); err != nil {
			t.Errorf("what was served before is given up: %v", err)
		}
	}
	// A replica that starts now has nothing else.
	late := c.start(Options{Mode: Given, Periods: Periods{Settle: time.Second}})
	placementtest.Await(c, "the late replica to say why it is not ready", func(context.Context) error {
		if err := late.keeper.Ready(); err == nil || !strings.Contains(err.Error(), "expired") {
			return fmt.Errorf("it says %w", errors.Join(err, errors.New("and not that it expired")))
		}
		return nil
	})
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	whole := Options{Namespace: "ebbtide", Secret: "a", Configuration: "b", Names: []string{"c"}}
	if _, err := New(&rest.Config{}, whole); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(o *Options){
		"no name for the Secret":  func(o *Options) { o.Secret = "" },
		"no name to be called by": func(o *Options) { o.Names = nil },
		"an unknown mode":         func(o *Options) { o.Mode = "Magic" },
		"periods that expire":     func(o *Options) { o.Periods.Settle = time.Second },
		"no time to settle":       func(o *Options) { o.Mode, o.Periods.Serving = Given, time.Hour },
	} {
		options := whole
		change(&options)
		if _, err := New(&rest.Config{}, options); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestBeforeItRunsAKeeperServesNothingAndSaysSo(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	k, err := New(&rest.Config{}, Options{
		Namespace: "ebbtide", Secret: "a", Configuration: "b", Names: []string{"c"}, Registry: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.GetCertificate(nil); err == nil {
		t.Error("it serves something")
	}
	if k.Ready() == nil {
		t.Error("it is ready")
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	if got, want := len(families), 5; got != want {
		t.Errorf("%d metrics exist from the start, want %d", got, want)
	}
}
