package audit

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// hanging is the way to an API server that takes requests and never answers. A request
// waits for as long as whoever asks.
type hanging struct{}

func (hanging) RoundTrip(request *http.Request) (*http.Response, error) {
	<-request.Context().Done()
	return nil, context.Cause(request.Context())
}

func TestAnAPIServerThatHangsHoldsTheLeaderForABoundedTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		runner := &Runner{Metrics: NewMetrics(registry), Log: slog.New(slog.DiscardHandler)}
		// Nobody listens at the address, and nobody is asked there.
		config, through := &rest.Config{Host: "http://api.invalid", QPS: -1}, &http.Client{Transport: hanging{}}
		var err error
		if runner.Client, err = kubernetes.NewForConfigAndClient(config, through); err != nil {
			t.Fatal(err)
		}
		if runner.Dynamic, err = dynamic.NewForConfigAndClient(config, through); err != nil {
			t.Fatal(err)
		}
		found := Audit(View{
			Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", auto), policy(t, "web", "{match: {podSelector: {matchLabels: {app: web}}}}")},
		}, placement.Rules{}, noon, Memory{})
		for _, name := range []string{"a", "b", "c"} {
			found.Readmit = append(found.Readmit, Readmission{Pod: waiting(t, name, dnsOwner, time.Hour), Policy: "dns"})
		}
		// Far more than it may take: without an end of their own the calls would end with it.
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		runner.act(ctx, found)
		const calls = 2 + 3
		if took := time.Since(began); took != calls*callTimeout {
			t.Errorf("%d calls took %s, want %s each", calls, took, callTimeout)
		}
		if n := placementtest.Metric(t, registry, "ebbtide_placement_readmissions_total", failed); n != 3 {
			t.Errorf("%v readmissions failed, want 3", n)
		}
	})
}
