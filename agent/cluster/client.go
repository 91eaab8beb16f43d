package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/drain"
)

// PolicyRules are the permissions that a Source takes, as rules of a ClusterRole. RBAC
// knows no "own Node": who may list and watch one may list and watch all.
func PolicyRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{
		APIGroups: []string{corev1.GroupName}, Resources: []string{"nodes"}, Verbs: []string{"list", "watch"},
	}}
}

// client asks the API server for one Node. Nothing is retried here.
type client struct {
	node  string
	core  rest.Interface
	codec runtime.ParameterCodec
	clock *clock
}

func newClient(config *rest.Config, node string) (*client, error) {
	scheme := runtime.NewScheme()
	// Nodes, and the Status that refuses one, are all that is read here.
	utilruntime.Must(corev1.AddToScheme(scheme))
	c := &client{node: node, codec: runtime.NewParameterCodec(scheme), clock: &clock{}}
	config = rest.CopyConfig(config)
	config.APIPath = "/api"
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.UserAgent = drain.FieldManager
	config.QPS = -1    // two requests in five minutes, and a rest after each that fails
	config.Timeout = 0 // it would end the watch
	config.Wrap(c.clock.over)
	var err error
	c.core, err = rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for node %q: %w", node, err)
	}
	return c, nil
}

func (c *client) request(options metav1.ListOptions) *rest.Request {
	options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, c.node).String()
	return c.core.Get().MaxRetries(0).Resource("nodes").VersionedParams(&options, c.codec)
}

// look reads the Node as it is now, and the version from which a watch misses nothing.
// It is a list, since the version of a Node itself may be too old to begin at.
func (c *client) look(ctx context.Context) (node *corev1.Node, version string, err error) {
	ctx, stop := context.WithTimeoutCause(ctx, answerWithin, errSilent)
	defer stop()
	var list corev1.NodeList
	if err := c.request(metav1.ListOptions{}).Do(ctx).Into(&list); err != nil {
		return nil, "", cmp.Or(context.Cause(ctx), err)
	}
	if list.ResourceVersion == "" {
		return nil, "", errNoVersion
	}
	for i := range list.Items {
		if list.Items[i].Name == c.node {
			return &list.Items[i], list.ResourceVersion, nil
		}
	}
	return nil, "", errNoNode
}

// errSilent is a request to which no reply began within answerWithin.
var errSilent = fmt.Errorf("no answer within %s", answerWithin)

// errNoVersion is a list as no API server sends it.
var errNoVersion = errors.New("the list has no resource version")

// errEnded is the end of a watch. client-go does not tell an end from a connection that
// broke. Only of a watch that was hardly begun it becomes an error of the Source.
var errEnded = errors.New("the watch ended at once")

// held is an open watch.
type held struct {
	watch.Interface
	cancel context.CancelFunc
	since  time.Time
}

// open begins to watch the Node from version on. The watch outlives ctx, and ends with
// close.
func (c *client) open(ctx context.Context, version string) (*held, error) {
	seconds := int64((2 * provenFor).Seconds()) // should the server not hear that we are gone
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ctx, stop := context.WithTimeoutCause(ctx, answerWithin, errSilent)
	defer stop()
	keep := context.AfterFunc(ctx, cancel)
	events, err := c.request(metav1.ListOptions{
		Watch: true, ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
	}).Watch(life)
	if err != nil {
		cancel()
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	h := &held{Interface: events, cancel: cancel, since: time.Now()}
	if !keep() {
		h.close()
		return nil, context.Cause(ctx)
	}
	return h, nil
}

// close ends the watch and waits until nothing is left of it.
func (h *held) close() {
	h.cancel()
	h.Stop()
	for range h.ResultChan() {
		// what comes is of no use any more
	}
}

// clock is what the API server's clock shows, by the Date header of its last reply.
type clock struct {
	mu         sync.Mutex
	date, read time.Time
}

// over is rest.Config's Wrap.
func (c *clock) over(next http.RoundTripper) http.RoundTripper { return reader{c, next} }

// now is by the server's clock, as Date counts it; zero before it has told.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.date.IsZero() {
		return time.Time{}
	}
	return c.date.Add(time.Since(c.read))
}

type reader struct {
	clock *clock
	next  http.RoundTripper
}

func (r reader) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.next.RoundTrip(request)
	if err != nil {
		return response, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		r.clock.mu.Lock()
		defer r.clock.mu.Unlock()
		r.clock.date, r.clock.read = date, time.Now()
	}
	return response, nil
}

// unseen is why the Node could not be watched. Its text is one line.
type unseen struct {
	node string
	err  error
}

func (u *unseen) Error() string {
	// An API server, or what stands in its place, may send a page of text.
	return fmt.Sprintf("watching node %q: %s", u.node, strings.Join(strings.Fields(u.err.Error()), " "))
}

func (u *unseen) Unwrap() error { return u.err }
