package interruptions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// lookEvery is the time between two looks at the nodes, which are in memory. What
	// they carry stays there for a minute and more.
	lookEvery = 2 * time.Second
	// listWithin bounds one list of Events.
	listWithin = 30 * time.Second
	// listPause is the pause before Events are listed after a watch has ended, and
	// before that is tried again: what refuses one watch may refuse the next.
	listPause = 5 * time.Second
)

// Counter counts interruptions, on the replica that leads.
//
// Permissions: in events.k8s.io, on events of all namespaces, list and watch. A pod's
// Events are in the pod's namespace, so that no less will do. Of them it asks for the
// agents' only; RBAC cannot hold it to that.
type Counter struct {
	// Client lists and watches Events.
	Client kubernetes.Interface
	// Nodes lists the nodes, from memory: it is asked every two seconds.
	Nodes client.Reader
	// Leader says how often the lead has changed hands: where that is as often as when
	// Run ended, nobody has counted since, and Run goes on where it was.
	Leader  func(ctx context.Context) (transitions int, err error)
	Metrics *Metrics
	Log     *slog.Logger

	last *term
}

// Run counts until ctx ends. It fails when it cannot begin; after that it tries again
// what fails, since what it knows is worth keeping. It runs once at a time.
func (c *Counter) Run(ctx context.Context) error {
	defer c.Metrics.watched.Set(0)
	t, err := c.begin(ctx)
	if err != nil {
		return err
	}
	for {
		c.Metrics.watched.Set(1)
		err := t.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.Metrics.watched.Set(0)
		// An API server soon forgets how a quiet cluster was: that is no trouble.
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			c.Log.WarnContext(ctx, "Lost sight of Events", "err", err)
		}
		if err := t.catchUpAfterPause(ctx); err != nil {
			return nil // the term has ended
		}
	}
}

// begin begins a term, or goes on with the last one: an API server that is away for
// longer than a lease ends the term of a leader that nobody follows.
func (c *Counter) begin(ctx context.Context) (*term, error) {
	transitions, err := c.Leader(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking who has led: %w", err)
	}
	if c.last != nil && c.last.transitions == transitions {
		return c.last, c.last.catchUp(ctx)
	}
	t := &term{Counter: c, transitions: transitions, memory: &Memory{}}
	if err := t.recall(ctx); err != nil {
		return nil, err
	}
	c.last = t
	return t, nil
}

// term is one time of leading.
type term struct {
	*Counter
	// transitions is what the term is told by from the next.
	transitions int
	memory      *Memory
	// heard is the resourceVersion of the last Event that was taken in.
	heard string
}

// recall learns what was before the term, which is not counted.
func (t *term) recall(ctx context.Context) error {
	// All Events of a cluster are many, and only the version of the list is wanted.
	now, err := t.list(ctx, metav1.NamespaceAll, metav1.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	t.heard = now.ResourceVersion
	if err := t.look(ctx); err != nil {
		return err
	}
	for _, node := range t.memory.Unsettled() {
		ofNode := fields.Set{reportingController: reporter, "regarding.kind": "Node", "regarding.name": node}
		// Events of what has no namespace are in default.
		past, err := t.list(ctx, metav1.NamespaceDefault, metav1.ListOptions{FieldSelector: ofNode.String()})
		if err != nil {
			return err
		}
		for i := range past.Items {
			if newer, err := t.news(&past.Items[i]); err != nil {
				return err
			} else if !newer {
				t.memory.Recall(&past.Items[i])
			}
		}
	}
	return nil
}

// follow takes in Events as they are written, and looks at the nodes, until ctx ends or
// the watch cannot go on, and returns why.
func (t *term) follow(ctx context.Context) error {
	ofAgents := fields.OneTermEqualSelector(reportingController, reporter).String()
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, t.heard, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = ofAgents
			return t.Client.EventsV1().Events(metav1.NamespaceAll).Watch(ctx, options)
		},
	})
	if err != nil {
		return fmt.Errorf("watching Events: %w", err)
	}
	defer func() {
		watcher.Stop()
		<-watcher.Done()
	}()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
			if err := t.look(ctx); err != nil {
				t.Log.WarnContext(ctx, "Missed a look at the nodes", "err", err)
			}
		case seen, open := <-watcher.ResultChan():
			if !open {
				return errors.New("watching Events: the watch has ended")
			}
			if err := t.hear(ctx, seen); err != nil {
				return err
			}
		}
	}
}

// hear takes in what a watch has shown.
func (t *term) hear(ctx context.Context, seen watch.Event) error {
	if seen.Type == watch.Error {
		return fmt.Errorf("watching Events: %w", apierrors.FromObject(seen.Object))
	}
	event, is := seen.Object.(*eventsv1.Event)
	if !is {
		return fmt.Errorf("watching Events: the API server sent a %T", seen.Object)
	}
	t.heard = event.ResourceVersion
	if seen.Type != watch.Deleted {
		t.count(ctx, t.memory.Event(event))
	}
	return nil
}

// catchUp takes in the Events that were written since the last one that was heard.
func (t *term) catchUp(ctx context.Context) error {
	ofAgents := fields.OneTermEqualSelector(reportingController, reporter).String()
	now, err := t.list(ctx, metav1.NamespaceAll, metav1.ListOptions{FieldSelector: ofAgents})
	if err != nil {
		return err
	}
	for i := range now.Items {
		newer, err := t.news(&now.Items[i])
		if err != nil {
			return err
		}
		if newer {
			t.count(ctx, t.memory.Event(&now.Items[i]))
		}
	}
	t.heard = now.ResourceVersion
	return nil
}

// catchUpAfterPause catches up after a pause, and tries until it has. The error says that
// ctx has ended.
func (t *term) catchUpAfterPause(ctx context.Context) error {
	ticker := time.NewTicker(listPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		err := t.catchUp(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			t.Log.WarnContext(ctx, "Missed Events for now", "err", err)
		}
	}
}

// news says whether an Event was written after the last one that was heard.
func (t *term) news(event *eventsv1.Event) (bool, error) {
	order, err := resourceversion.CompareResourceVersion(event.ResourceVersion, t.heard)
	if err != nil {
		return false, fmt.Errorf("comparing Event \"%s/%s\" with the last one: %w", event.Namespace, event.Name, err)
	}
	return order > 0, nil
}

// look takes in how the nodes are.
func (t *term) look(ctx context.Context) error {
	var list corev1.NodeList
	// The objects stay the cache's: nothing here changes one.
	if err := t.Nodes.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing the nodes that are known: %w", err)
	}
	nodes := make([]*corev1.Node, 0, len(list.Items))
	for i := range list.Items {
		nodes = append(nodes, &list.Items[i])
	}
	t.count(ctx, t.memory.Nodes(time.Now(), nodes))
	return nil
}

// count counts facts. Metrics name no node: the log does, but for pods, of whom the
// Events themselves say more.
func (t *term) count(ctx context.Context, facts []Fact) {
	for _, fact := range facts {
		t.Metrics.count(fact)
		switch {
		case fact.Subject == Interruption:
			t.Log.InfoContext(ctx, "Counted interruption", "node", fact.Node, "notice", fact.Notice, "kind", fact.Value)
		case fact.Subject == Advice:
			t.Log.InfoContext(ctx, "Counted advice", "node", fact.Node, "notice", fact.Notice, "kind", fact.Value)
		case fact.Subject == Drain && fact.Value == Unreported:
			t.Log.WarnContext(ctx, "Heard of no end of drain", "node", fact.Node, "notice", fact.Notice)
		case fact.Subject == Drain:
			t.Log.InfoContext(ctx, "Counted drain", "node", fact.Node, "notice", fact.Notice, "outcome", fact.Value)
		}
	}
}

// reportingController is the field that Events are selected by.
const reportingController = "reportingController"

func (t *term) list(ctx context.Context, namespace string, options metav1.ListOptions) (*eventsv1.EventList, error) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	list, err := t.Client.EventsV1().Events(namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("listing Events: %w", err)
	}
	return list, nil
}
