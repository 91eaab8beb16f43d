package placementtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// ending is a test that somebody else's mistake may end.
type ending struct {
	testing.TB
	said string
}

func (e *ending) Fatalf(format string, args ...any) {
	e.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// saidAtTheEnd is what ends a test that does this; empty when nothing does.
func saidAtTheEnd(t *testing.T, do func(*ending)) string {
	t.Helper()
	test := &ending{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do(test)
	}()
	<-ended
	return test.said
}

func TestAMistakeEndsTheTestAndIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(*ending)
		want string
	}{
		"a field of a pod that no pod has":      {func(t *ending) { Pod(t, "spec: {node: a}") }, `unknown field "node"`},
		"a field of a policy that no spec has":  {func(t *ending) { Policy(t, "dns", "{modus: Auto}") }, `unknown field "modus"`},
		"a value that JSON cannot say":          {func(t *ending) { JSON(t, make(chan int)) }, "writing a chan int"},
		"a metric that is not there":            {func(t *ending) { Metric(t, prometheus.NewRegistry(), "pods") }, "no series pods"},
		"and no mistake, which does not end it": {func(t *ending) { Pod(t, "spec: {nodeName: a}") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := saidAtTheEnd(t, c.do); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("the test says %q at its end, want %q in it", got, c.want)
			}
		})
	}
}

func TestAWaitInVainSaysWhatWasSeenLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		got := saidAtTheEnd(t, func(t *ending) {
			Await(t, "the tide", func(ctx context.Context) error {
				if time.Since(began) < Within {
					return errors.New("the water is low")
				}
				<-ctx.Done()
				return ctx.Err()
			})
		})
		if !strings.HasPrefix(got, "waiting for the tide: ") || !strings.HasSuffix(got, "; last: the water is low") {
			t.Errorf("the test says %q at its end", got)
		}
		if took := time.Since(began); took != Within {
			t.Errorf("it took %v, want %v", took, Within)
		}
	})
}

func TestAWaitEndsWithTheState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		Await(t, "the third look", func(context.Context) error {
			if looks++; looks < 3 {
				return errors.New("too early")
			}
			return nil
		})
		if looks != 3 {
			t.Errorf("it looked %d times", looks)
		}
	})
}

func TestAPodIsStoredAsItWillBeReadAgain(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		`{}`, `null`,
		`{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1e3","memory":"0.5Gi"}}}]}}`,
		`{"metadata":{"creationTimestamp":"2026-03-01T12:00:00+02:00"},"unknown":1}`,
	} {
		pod, stored, is := StoredPod([]byte(document))
		if !is {
			t.Errorf("%s is no pod", document)
			continue
		}
		again, same, is := StoredPod(stored)
		if diff := cmp.Diff(string(stored), string(same)); diff != "" || !is {
			t.Errorf("%s is stored another way when it is read again (-first +again):\n%s", document, diff)
		}
		if diff := cmp.Diff(pod, again); diff != "" {
			t.Errorf("%s is another pod when it is read again (-first +again):\n%s", document, diff)
		}
	}
	for _, document := range []string{``, `[]`, `7`, `{"spec":{"containers":[{"resources":{"requests":{"cpu":"much"}}}]}}`} {
		if _, _, is := StoredPod([]byte(document)); is {
			t.Errorf("%s is a pod", document)
		}
	}
}

func TestAMetricIsFoundByItsLabels(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	pods := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "pods", Help: "Pods."}, []string{"where", "policy"})
	moves := prometheus.NewCounter(prometheus.CounterOpts{Name: "moves_total", Help: "Moves."})
	registry.MustRegister(pods, moves)
	pods.WithLabelValues("OnSpot", "dns").Set(2)
	pods.WithLabelValues("LongLived", "dns").Set(3)
	moves.Inc()
	got := []float64{
		Metric(t, registry, "pods", "dns", "OnSpot"), Metric(t, registry, "pods", "dns", "LongLived"), Metric(t, registry, "moves_total"),
	}
	if want := []float64{2, 3, 1}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
