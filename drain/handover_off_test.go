package drain

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// moment is a request at which a drain is called off.
type moment struct {
	method, path string
	// meets lets the request have its way with the API server; nil sends it on as
	// it is, with a context that has ended.
	meets func(request *http.Request, next http.RoundTripper, sent *sync.WaitGroup) (*http.Response, error)
	// later calls the drain off so long after the request has ended.
	later time.Duration
}

// underway has the API server carry a request out after a moment, whether or not its
// sender waits for that.
func underway(request *http.Request, next http.RoundTripper, sent *sync.WaitGroup) (*http.Response, error) {
	type reply struct {
		response *http.Response
		err      error
	}
	replies := make(chan reply)
	ctx := request.Context()
	sent.Go(func() {
		<-time.After(300 * time.Millisecond)
		response, err := next.RoundTrip(request.Clone(context.WithoutCancel(ctx)))
		select {
		case replies <- reply{response, err}:
		case <-ctx.Done():
			if err == nil {
				_ = response.Body.Close()
			}
		}
	})
	select {
	case got := <-replies:
		return got.response, got.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// lost has the API server carry a request out, and nobody ever hears the reply.
func lost(request *http.Request, next http.RoundTripper, _ *sync.WaitGroup) (*http.Response, error) {
	response, err := next.RoundTrip(request.Clone(context.WithoutCancel(request.Context())))
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	<-request.Context().Done()
	return nil, context.Cause(request.Context())
}

func TestADrainThatIsCalledOffLeavesNoPodHandedOver(t *testing.T) {
	t.Parallel()
	cases := map[string]moment{
		"before the ReplicaSet is read":                {method: http.MethodGet, path: "/replicasets/"},
		"before the surroundings are read":             {method: http.MethodGet, path: "/networkpolicies"},
		"while the hand-over is under way":             {http.MethodPatch, "/pods/", underway, 0},
		"when it is handed over and nobody knows":      {http.MethodPatch, "/pods/", lost, 0},
		"before the hand-over is tried again":          {http.MethodPatch, "/pods/", lost, handOverAgain / 2},
		"while the surge is looked at":                 {method: http.MethodGet, path: "resourceVersionMatch=Exact"},
		"while the replacement is awaited":             {method: http.MethodGet, path: "/deployments?"},
		"when the replacement stands in and it may go": {method: http.MethodPost, path: "/eviction"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 1, costing("7"))
			uncontrolled, old := s.controllersOf(), s.pod("web")
			ctx, callOff := context.WithCancel(t.Context())
			defer callOff()
			var once sync.Once
			var sent sync.WaitGroup
			h := s.handOversThrough(func(request *http.Request, next http.RoundTripper) (*http.Response, error) {
				first := false
				if request.Method == c.method && strings.Contains(request.URL.RequestURI(), c.path) {
					once.Do(func() { first = true })
				}
				if !first {
					return next.RoundTrip(request)
				}
				if c.later > 0 {
					defer time.AfterFunc(c.later, callOff)
				} else {
					callOff()
				}
				if c.meets != nil {
					return c.meets(request, next, &sent)
				}
				return next.RoundTrip(request)
			})
			outcomes := s.drain(ctx, h, Policy{HandOver: HandOverAlways}, 2*time.Minute)
			if len(outcomes) != 1 || outcomes[0].Path != CalledOff {
				t.Fatalf("the drain ended with %+v, want one pod that was called off", outcomes)
			}
			if ctx.Err() == nil {
				t.Fatal("the drain never came to the step at which it was to be called off")
			}
			sent.Wait()
			s.isBack(old)
			if n := uncontrolled(); n > 0 {
				t.Errorf("pods were seen %d times without a controller", n)
			}
		})
	}
}
