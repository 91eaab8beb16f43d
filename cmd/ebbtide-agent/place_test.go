package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/provider"
)

const machineOnAzure = "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/7"

var errRefused = errors.New("connection refused")

// youngNode is a node that the API server shows as answers say, one a look; the last
// one stays.
type youngNode struct {
	agent.Node

	answers []answer
}

type answer struct {
	providerID string
	err        error
}

func (n *youngNode) Get(context.Context) (*corev1.Node, error) {
	now := n.answers[0]
	if len(n.answers) > 1 {
		n.answers = n.answers[1:]
	}
	return &corev1.Node{Spec: corev1.NodeSpec{ProviderID: now.providerID}}, now.err
}

// settling is an agent on a node, the log that it writes, and its metrics.
func settling(answers ...answer) (parts, *strings.Builder) {
	book, registry := &strings.Builder{}, prometheus.NewRegistry()
	log := slog.New(slog.NewTextHandler(book, nil))
	return parts{
		agent: &agent.Agent{
			Node: &youngNode{answers: answers}, Health: &agent.Health{Log: log}, Log: log,
			Metrics: agent.NewMetrics(registry, nil),
		},
		registry: registry, provider: newProviderGauge(registry),
	}, book
}

func TestTheProviderIsFoundWhenTheNodeTellsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, book := settling(answer{err: errRefused}, answer{}, answer{providerID: machineOnAzure})
		settled := make(chan error, 1)
		go func() { settled <- p.settle(t.Context(), Default()) }()

		for _, want := range []string{errRefused.Error(), provider.ErrNoID.Error()} {
			synctest.Wait()
			failing := p.agent.Health.Failing(time.Now())
			if len(failing) != 1 || failing[providerCheck] == nil || failing[providerCheck].Error() != want {
				t.Errorf("failing: %v, want %s: %s", failing, providerCheck, want)
			}
			<-time.After(lookAgain)
		}
		if err := <-settled; err != nil {
			t.Fatal(err)
		}
		if len(p.agent.Sources) != 1 || p.agent.Sources[0].Provider() != provider.Azure {
			t.Errorf("sources: %v", p.agent.Sources)
		}
		failing := p.agent.Health.Failing(time.Now())
		if failing[providerCheck] != nil || failing["source/azure-scheduled-events"] == nil || failing["node"] == nil {
			t.Errorf("failing: %v; want the checks that are to come, and no other", failing)
		}
		if got := providersIn(t, p.registry); !slices.Equal(got, []string{provider.Azure}) {
			t.Errorf("the metric says %q", got)
		}
		if !strings.Contains(book.String(), "Found provider") {
			t.Errorf("log:\n%s", book)
		}
	})
}

func TestAMachineThatNobodyTellsItsEndIsSaidSoOnceAndIsNoFailure(t *testing.T) {
	t.Parallel()
	p, book := settling(answer{providerID: "kind://docker/kind/kind-worker"})
	if err := p.settle(t.Context(), Default()); err != nil {
		t.Fatal(err)
	}
	failing := slices.Sorted(maps.Keys(p.agent.Health.Failing(time.Now())))
	if diff := cmp.Diff([]string{"cordon-rehearsal", "node", "permissions"}, failing); diff != "" {
		t.Errorf("failing before the first of them was made (-want +got):\n%s", diff)
	}
	if len(p.agent.Sources) > 0 {
		t.Errorf("sources: %v", p.agent.Sources)
	}
	if got := providersIn(t, p.registry); !slices.Equal(got, []string{provider.None}) {
		t.Errorf("the metric says %q", got)
	}
	if n := strings.Count(book.String(), "level=WARN"); n != 1 || !strings.Contains(book.String(), "kind://docker/kind/kind-worker") {
		t.Errorf("%d warnings, want one with what was found:\n%s", n, book)
	}
}

func TestAProviderThatIsNamedIsNotLookedFor(t *testing.T) {
	t.Parallel()
	p, _ := settling(answer{err: errRefused})
	config := Default()
	config.Provider = provider.GCP
	if err := p.settle(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if len(p.agent.Sources) != 3 {
		t.Errorf("sources: %v", p.agent.Sources)
	}
}

func TestAnAgentThatIsStoppedLooksNoLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := settling(answer{})
		ctx, stop := context.WithCancel(t.Context())
		settled := make(chan error, 1)
		go func() { settled <- p.settle(ctx, Default()) }()
		synctest.Wait()
		stop()
		if err := <-settled; stopped(ctx, err) != nil || err == nil {
			t.Errorf("it ended with %v, want the end of its context", err)
		}
	})
}

// providersIn returns those for which the metric is 1.
func providersIn(t *testing.T, registry prometheus.Gatherer) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "ebbtide_provider" && metric.GetGauge().GetValue() == 1 {
				found = append(found, metric.GetLabel()[0].GetValue())
			}
		}
	}
	return found
}
