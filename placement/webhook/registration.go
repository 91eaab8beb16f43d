package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	applyv1 "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/placement"
)

// FieldManager owns every field of the webhook configuration that a [Registration]
// writes: all but the caBundle, which belongs to whoever keeps the certificates.
const FieldManager = "ebbtide-placement"

// withoutEnforcer keeps AKS from writing selectors of its own into the entries, which
// would leave out kube-system, where DNS lives.
const withoutEnforcer = "admissions.enforcer/disabled"

const (
	// applyWithin bounds one write of the configuration.
	applyWithin = 10 * time.Second
	// firstPause and lastPause bound how long a registration waits after a write before
	// it looks again. It doubles while somebody else takes back what was written.
	firstPause = time.Second
	lastPause  = 5 * time.Minute
)

// Registrar writes the configuration by server-side apply; a [client.Client] does.
type Registrar interface {
	Apply(ctx context.Context, object runtime.ApplyConfiguration, options ...client.ApplyOption) error
}

// Registration keeps the entries of the MutatingWebhookConfiguration as the policies
// ask: they say which pods the API server asks about at all.
//
// Every replica does so, and none is the leader. What is written depends on nothing
// but the policies, and a server-side apply of what is there already changes nothing,
// not even the resourceVersion: of two replicas that agree the second writes for
// nothing, once. Two that disagree, because the watch of one is behind or their
// versions differ, take turns at the pace of the pauses until they do agree.
//
// The chart makes the configuration, without entries, so that it goes when the chart
// does; one that is missing is made.
type Registration struct {
	writer  Registrar
	name    string
	options placement.EntryOptions
	log     *slog.Logger
	writes  *prometheus.CounterVec

	bell bell
	mu   sync.Mutex
	// wanted is nil until the policies are known; live, while there is no configuration.
	wanted []admissionregistrationv1.MutatingWebhook
	live   *admissionregistrationv1.MutatingWebhookConfiguration
	synced func() bool
}

// What became of a write, as the label "outcome".
const (
	writeApplied = "Applied"
	writeFailed  = "Failed"
)

// NewRegistration returns a registration of that name, and registers its metric.
func NewRegistration(writer Registrar, name string, options placement.EntryOptions, registry prometheus.Registerer, log *slog.Logger) *Registration {
	writes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_registrations_total",
		Help: "Writes of the webhook configuration, by what became of them.",
	}, []string{"outcome"})
	registry.MustRegister(writes)
	for _, outcome := range []string{writeApplied, writeFailed} {
		writes.WithLabelValues(outcome)
	}
	return &Registration{writer: writer, name: name, options: options, log: log, writes: writes, bell: newBell(), synced: func() bool { return true }}
}

// Watch subscribes to the live configuration. The cache must hold no other.
func (r *Registration) Watch(ctx context.Context, informers cache.Informers) error {
	informer, err := informers.GetInformer(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching webhook configuration %q: %w", r.name, err)
	}
	registration, err := informer.AddEventHandler(liveConfiguration{r})
	if err != nil {
		return fmt.Errorf("watching webhook configuration %q: %w", r.name, err)
	}
	r.synced = registration.HasSynced
	return nil
}

// liveConfiguration tells a registration what the API server has.
type liveConfiguration struct{ r *Registration }

func (l liveConfiguration) OnAdd(object any, _ bool) { l.set(object) }
func (l liveConfiguration) OnUpdate(_, object any)   { l.set(object) }
func (l liveConfiguration) OnDelete(any)             { l.r.saw(nil) }

func (l liveConfiguration) set(object any) {
	if live, is := object.(*admissionregistrationv1.MutatingWebhookConfiguration); is {
		l.r.saw(live)
	}
}

func (r *Registration) saw(live *admissionregistrationv1.MutatingWebhookConfiguration) {
	r.mu.Lock()
	r.live = live
	r.mu.Unlock()
	r.bell.ring()
}

// Want says which policies the entries are to serve. It does not block.
func (r *Registration) Want(policies placement.Policies) {
	wanted := withoutBundles(placement.WebhookEntries(policies, r.options))
	r.mu.Lock()
	r.wanted = wanted
	r.mu.Unlock()
	r.bell.ring()
}

// Run writes the entries whenever they are not what is wanted, until ctx ends.
func (r *Registration) Run(ctx context.Context) error {
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.bell.rung:
		}
		for {
			wanted, settled := r.look()
			if settled {
				pause = firstPause
				break
			}
			r.apply(ctx, wanted)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			pause = min(2*pause, lastPause)
		}
	}
}

// look says whether there is nothing to write, now.
func (r *Registration) look() (wanted []admissionregistrationv1.MutatingWebhook, settled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wanted == nil || !r.synced() {
		return nil, true // somebody rings when that changes
	}
	if r.live == nil || r.live.Annotations[withoutEnforcer] != "true" {
		return r.wanted, false
	}
	return r.wanted, equality.Semantic.DeepEqual(r.wanted, withoutBundles(r.live.Webhooks))
}

// withoutBundles are the entries without the field that is somebody else's.
func withoutBundles(entries []admissionregistrationv1.MutatingWebhook) []admissionregistrationv1.MutatingWebhook {
	written := slices.Clone(entries)
	for i := range written {
		written[i].ClientConfig.CABundle = nil
	}
	return written
}

func (r *Registration) apply(ctx context.Context, wanted []admissionregistrationv1.MutatingWebhook) {
	ctx, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	err := r.write(ctx, wanted)
	if err != nil {
		r.writes.WithLabelValues(writeFailed).Inc()
		r.log.Error("Left the webhook configuration as it was", "name", r.name, "err", err)
		return
	}
	r.writes.WithLabelValues(writeApplied).Inc()
	r.log.Info("Wrote the webhook configuration", "name", r.name, "entries", len(wanted))
}

func (r *Registration) write(ctx context.Context, wanted []admissionregistrationv1.MutatingWebhook) error {
	configuration := applyv1.MutatingWebhookConfiguration(r.name).WithAnnotations(map[string]string{withoutEnforcer: "true"})
	encoded, err := json.Marshal(wanted)
	if err == nil {
		err = json.Unmarshal(encoded, &configuration.Webhooks)
	}
	if err != nil {
		return fmt.Errorf("encoding webhook configuration %q: %w", r.name, err)
	}
	// Forced: a field that somebody else set is one that decides which pods are asked about.
	if err := r.writer.Apply(ctx, configuration, client.FieldOwner(FieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("applying webhook configuration %q: %w", r.name, err)
	}
	return nil
}
