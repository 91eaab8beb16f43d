package agent

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/drain"
)

// verbs are those that a drain asks with, and the code of their success.
var verbs = map[string]int{
	http.MethodGet: http.StatusOK, http.MethodPatch: http.StatusOK,
	http.MethodPost: http.StatusCreated, http.MethodDelete: http.StatusOK,
}

// verdicts are the meanings that a reply can have.
var verdicts = []drain.Verdict{
	drain.Accepted, drain.Gone, drain.OtherPod, drain.BudgetClosed, drain.BudgetStale, drain.BudgetContended,
	drain.BudgetNeverOpens, drain.NamespaceEnding, drain.Denied, drain.Unauthorized, drain.Overloaded, drain.Unreachable,
}

// CountRequests counts the requests that go through next. It fits
// rest.Config.Wrap.
func (m *Metrics) CountRequests(next http.RoundTripper) http.RoundTripper {
	return counter{m.requests, next}
}

type counter struct {
	requests *prometheus.CounterVec
	next     http.RoundTripper
}

func (c counter) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(request)
	code := 0
	if err == nil {
		code = response.StatusCode
	}
	c.requests.WithLabelValues(request.Method, strconv.Itoa(code)).Inc()
	return response, err
}

// CountCalls counts the calls that ask node's pods to leave, by what their replies
// meant. What it returns is node in every other way.
func (m *Metrics) CountCalls(node Node) Node { return countedNode{node, m.calls} }

type countedNode struct {
	Node
	calls *prometheus.CounterVec
}

func (n countedNode) Evict(ctx context.Context, pod drain.PodRef, grace time.Duration) error {
	return n.count(ctx, n.Node.Evict(ctx, pod, grace))
}

func (n countedNode) Delete(ctx context.Context, pod drain.PodRef, grace time.Duration) error {
	return n.count(ctx, n.Node.Delete(ctx, pod, grace))
}

func (n countedNode) count(ctx context.Context, err error) error {
	// A call that ended with its drain says nothing of the API server; one whose
	// own time was up has another cause, or is a deadline.
	if err == nil || !errors.Is(context.Cause(ctx), context.Canceled) {
		n.calls.WithLabelValues(string(drain.Classify(err).Verdict)).Inc()
	}
	return err
}
