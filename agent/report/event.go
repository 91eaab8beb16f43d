package report

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

const (
	// writers is how many Events are written at a time. The agents of a storm
	// share one flow of the API server's fairness: those that are done must not
	// take the seats of those that still evict.
	writers = 4
	// maxEvents bounds what one report writes: two for each of the 110 pods that
	// a kubelet takes by default, and the node's own.
	maxEvents = 256
	// uidTimeout bounds the look at the node: an Event without its UID is worth
	// more than none.
	uidTimeout = 500 * time.Millisecond
)

// What became of an Event, as the label "outcome" of ebbtide_events_total.
const (
	// written: the API server has it.
	written = "Written"
	// failed: the API server refused it, or did not answer in time.
	failed = "Failed"
	// dropped: it was not tried, because the first one failed, the time was up or
	// there were too many.
	dropped = "Dropped"
)

// PolicyRules are the permissions that Events take, as rules of a ClusterRole. An
// agent without them drains and is ready all the same, so that they are not among
// drain.Permissions.
func PolicyRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{
		APIGroups: []string{eventsv1.GroupName}, Resources: []string{"events"}, Verbs: []string{"create"},
	}}
}

// Node is what Events need to know of the agent's node. Get is asked for the UID,
// once where it succeeds.
type Node interface {
	Name() string
	Get(ctx context.Context) (*corev1.Node, error)
}

// Events writes what befell a node and its pods as Events of events.k8s.io/v1:
// that a notice came when it is told so, everything else with the report, when
// the drain is over and has no use for the API server any more. They are told
// after the fact, once and best effort: each is one request, and none is retried.
//
// client-go's own recorder (tools/events) would aggregate and retry in the
// background, which a machine that goes under has no time for, and its clientset
// made the agent 11 MB larger; this one costs 0.4 MB.
type Events struct {
	node   Node
	client rest.Interface
	events *prometheus.CounterVec

	mu  sync.Mutex
	uid types.UID
	// noticed names the Event about a notice itself that was written last.
	noticed string
}

var _ agent.Reporter = (*Events)(nil)

// NewEvents returns a sink for node's Events and registers its metric with
// registry. It asks nothing yet.
func NewEvents(config *rest.Config, node Node, registry prometheus.Registerer) (*Events, error) {
	scheme := runtime.NewScheme()
	// Events, and the Status that refuses one, are all that this client reads.
	utilruntime.Must(eventsv1.AddToScheme(scheme))
	config = rest.CopyConfig(config)
	config.APIPath = "/apis"
	config.GroupVersion = &eventsv1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.UserAgent = drain.FieldManager
	// writers bounds it already, and a queue here would only outlive the machine.
	config.QPS = -1
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for Events: %w", err)
	}
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_events_total", Help: "Kubernetes Events about the node and its pods, by what became of them.",
	}, []string{"outcome"})
	registry.MustRegister(events)
	for _, outcome := range []string{written, failed, dropped} {
		events.WithLabelValues(outcome)
	}
	return &Events{node: node, client: client, events: events}, nil
}

// Noticed writes the Event of the notice itself. One that does not get through is
// written with the report.
func (e *Events) Noticed(ctx context.Context, notice agent.Notice) error {
	return e.writeAll(ctx, []*eventsv1.Event{e.story(ctx, notice).noticed()})
}

// Report writes the Events of the drain: the node's first, then the pods'. When
// the first is refused the others are not tried: what is in the way of one is in
// the way of all, and an API server in trouble has better things to do. The error
// says how many were not written, and why the first of them was not.
func (e *Events) Report(ctx context.Context, notice agent.Notice, report drain.Report) error {
	story := e.story(ctx, notice)
	events := []*eventsv1.Event{story.ended(report)}
	if noticed := story.noticed(); !e.knows(noticed) {
		events = append(events, noticed)
	}
	return e.writeAll(ctx, append(events, story.pods(report)...))
}

func (e *Events) story(ctx context.Context, notice agent.Notice) story {
	return story{node: nodeReference(e.node.Name(), e.nodeUID(ctx)), notice: notice}
}

// nodeUID reads the node's UID once. It is empty where that fails: such an Event
// is found by the node's name.
func (e *Events) nodeUID(ctx context.Context) types.UID {
	e.mu.Lock()
	uid := e.uid
	e.mu.Unlock()
	if uid != "" {
		return uid
	}
	ctx, cancel := context.WithTimeout(ctx, uidTimeout)
	defer cancel()
	node, err := e.node.Get(ctx)
	if err != nil {
		return ""
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.uid = node.UID
	return e.uid
}

// errTooMany is why the last Events of a very long report are not tried.
var errTooMany = fmt.Errorf("one report writes at most %d", maxEvents)

// writeAll writes events, and the first of them before it begins with the others.
func (e *Events) writeAll(ctx context.Context, events []*eventsv1.Event) error {
	errs := make([]error, min(len(events), maxEvents))
	errs[0] = e.write(ctx, events[0])
	if errs[0] != nil {
		errs = errs[:1]
	}
	var writing errgroup.Group
	writing.SetLimit(writers)
	for i := 1; i < len(errs); i++ {
		writing.Go(func() error {
			errs[i] = e.write(ctx, events[i])
			return nil
		})
	}
	_ = writing.Wait() // each error is in its place

	untried := len(events) - len(errs)
	e.events.WithLabelValues(dropped).Add(float64(untried))
	unwritten := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	switch {
	case len(unwritten) > 0:
		return fmt.Errorf("leaving %d of %d Events unwritten: %w", len(unwritten)+untried, len(events), unwritten[0])
	case untried > 0:
		return fmt.Errorf("leaving %d of %d Events unwritten: %w", untried, len(events), errTooMany)
	}
	return nil
}

func (e *Events) write(ctx context.Context, event *eventsv1.Event) error {
	if ctx.Err() != nil {
		e.events.WithLabelValues(dropped).Inc()
		return fmt.Errorf("writing Event %q: %w", event.Reason, context.Cause(ctx))
	}
	err := e.client.Post().MaxRetries(0).Namespace(event.Namespace).Resource("events").Body(event).Do(ctx).Error()
	// One that is there already was written by an agent before this one, or by a
	// request whose reply was lost: its name follows from what it says.
	if err != nil && !apierrors.IsAlreadyExists(err) {
		e.events.WithLabelValues(failed).Inc()
		return fmt.Errorf("writing Event %q: %w", event.Reason, err)
	}
	e.events.WithLabelValues(written).Inc()
	e.mu.Lock()
	defer e.mu.Unlock()
	if begins[event.Reason] {
		e.noticed = event.Name
	}
	return nil
}

// knows says whether the Event, about a notice, is written.
func (e *Events) knows(event *eventsv1.Event) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.noticed == event.Name
}
