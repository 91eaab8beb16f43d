package webhook

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/placement"
)

const (
	// queued is how many Events may wait to be written; more are dropped.
	queued = 64
	// repeatAfter is how long the same is not said again about the same workload: its
	// pods are all alike.
	repeatAfter = 10 * time.Minute
	// remembered is of how many workloads it is known what was said.
	remembered = 4096
	// perSecond and burst bound what is written: a mistake in a policy that matches
	// everything must not become a load of its own.
	perSecond, burst = 1, 20
	// writeWithin bounds one write.
	writeWithin = 5 * time.Second
	// maxNote is how long the API server takes a note to be, in bytes.
	maxNote = 1024
)

// Reporter is what the Events of the program say wrote them.
const Reporter = "ebbtide.dev/placement"

// IgnoredOverride is the reason of an Event about a pod whose annotation has a value
// that is none, where the decision itself needs no action. Events about decisions that
// do have the decision's reason.
const IgnoredOverride = "IgnoredOverride"

// What became of an Event, as the label "outcome".
const (
	// eventWritten: the API server has it.
	eventWritten = "Written"
	// eventFailed: the API server refused it, or did not answer in time.
	eventFailed = "Failed"
	// eventRepeated: the same was said of the same workload a short while ago.
	eventRepeated = "Repeated"
	// eventDropped: there were too many.
	eventDropped = "Dropped"
)

// EventWriter writes Events; a [client.Client] does.
type EventWriter interface {
	Create(ctx context.Context, event client.Object, options ...client.CreateOption) error
}

// Events is a [Listener] that writes Kubernetes Events about the workloads whose pods
// it hears of: a pod has no name yet while it is admitted. Each is written once and
// best effort. client-go's recorder would start a goroutine for each, without bound.
type Events struct {
	writer   EventWriter
	instance string
	log      *slog.Logger
	outcomes *prometheus.CounterVec

	queue chan *eventsv1.Event
	said  *cache.LRUExpireCache
	limit *rate.Limiter
}

var _ Listener = (*Events)(nil)

// NewEvents returns a listener that writes while it is [Events.Run], and registers its
// metric. Instance says which replica writes.
func NewEvents(writer EventWriter, instance string, registry prometheus.Registerer, log *slog.Logger) *Events {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_events_total",
		Help: "Kubernetes Events about decisions that somebody should act on, by what became of them.",
	}, []string{"outcome"})
	registry.MustRegister(outcomes)
	for _, outcome := range []string{eventWritten, eventFailed, eventRepeated, eventDropped} {
		outcomes.WithLabelValues(outcome)
	}
	return &Events{
		writer: writer, instance: instance, log: log, outcomes: outcomes,
		queue: make(chan *eventsv1.Event, queued),
		said:  cache.NewLRUExpireCache(remembered),
		limit: rate.NewLimiter(perSecond, burst),
	}
}

// saying is what is not said again for a while.
type saying struct {
	uid             types.UID
	namespace, name string
	reason          string
}

// Hear queues an Event about the decision, unless it was said lately or too much waits.
func (e *Events) Hear(pod *corev1.Pod, decision placement.Decision) {
	regarding, reason := subject(pod), string(decision.Reason)
	if decision.IgnoredOverride != "" && decision.Reason.Outcome() != placement.Unchanged {
		reason = IgnoredOverride
	}
	key := saying{uid: regarding.UID, namespace: regarding.Namespace, name: regarding.Name, reason: reason}
	if _, found := e.said.Get(key); found {
		e.count(eventRepeated)
		return
	}
	now := time.Now()
	if !e.limit.AllowN(now, 1) {
		e.count(eventDropped)
		return
	}
	note := decision.Message()
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: regarding.Namespace, Name: fmt.Sprintf("%s.%x", eventName(regarding.Name), now.UnixNano())},
		EventTime:  metav1.NewMicroTime(now), Type: corev1.EventTypeWarning, Reason: reason, Action: "Placing",
		Regarding: regarding, Note: strings.ToValidUTF8(note[:min(len(note), maxNote)], ""),
		ReportingController: Reporter, ReportingInstance: e.instance,
	}
	select {
	case e.queue <- event:
		e.said.Add(key, struct{}{}, repeatAfter)
	default:
		e.count(eventDropped)
	}
}

// subject is the pod's controller, or the pod itself when it has none.
func subject(pod *corev1.Pod) corev1.ObjectReference {
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		return corev1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: pod.Namespace, Name: owner.Name, UID: owner.UID}
	}
	return corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, UID: pod.UID,
		Name: cmp.Or(pod.Name, strings.TrimRight(pod.GenerateName, "-.")),
	}
}

// eventName is the first part of an Event's name, short enough for the rest.
func eventName(name string) string {
	const rest = 1 + 16
	name = strings.TrimRight(name[:min(len(name), validation.DNS1123SubdomainMaxLength-rest)], "-.")
	return cmp.Or(name, "pod")
}

// Run writes what was heard until ctx ends. What waits then is dropped.
func (e *Events) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-e.queue:
			e.write(ctx, event)
		}
	}
}

func (e *Events) write(ctx context.Context, event *eventsv1.Event) {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	if err := e.writer.Create(ctx, event); err != nil {
		e.count(eventFailed)
		e.log.Warn("Left an Event unwritten", "namespace", event.Namespace, "reason", event.Reason, "err", err)
		return
	}
	e.count(eventWritten)
}

func (e *Events) count(outcome string) { e.outcomes.WithLabelValues(outcome).Inc() }
