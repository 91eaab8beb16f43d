package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/provider"
)

func TestEachProviderIsWatchedWhereItGivesNotices(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"aws":     {"aws-spot", "aws-rebalance", "aws-maintenance", "aws-lifecycle"},
		"gcp":     {"gcp-preempted", "gcp-maintenance-event", "gcp-upcoming-maintenance"},
		"azure":   {"azure-scheduled-events"},
		"alibaba": {"alibaba-spot"},
		"tencent": {"tencent-spot"},
		"none":    nil,
	}
	got := map[string][]string{}
	for _, name := range provider.All {
		sources, err := newSources(Default(), place{provider: name}, &rest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		got[name] = nil
		for _, source := range sources {
			got[name] = append(got[name], source.Provider()+"-"+source.Name())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestWhatIsReadOfAWSBesidesTheInterruptionCanBeLeftOut(t *testing.T) {
	t.Parallel()
	for without, leave := range map[string]func(*AWS){
		"rebalance":   func(a *AWS) { a.Rebalance = false },
		"maintenance": func(a *AWS) { a.Maintenance = false },
		"lifecycle":   func(a *AWS) { a.Lifecycle = false },
	} {
		config := Default()
		leave(&config.AWS)
		sources, err := newSources(config, place{provider: provider.AWS}, &rest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		left := slices.ContainsFunc(sources, func(source agent.Source) bool { return source.Name() == without })
		if left || len(sources) != 3 {
			t.Errorf("without %s there are %v", without, sources)
		}
	}
}

func TestTheClusterIsListenedToBesidesEveryCloudIfAsked(t *testing.T) {
	t.Parallel()
	config := Default()
	config.NodeName, config.Cluster.Enabled = "worker-1", true
	for _, name := range provider.All {
		alone, err := newSources(Default(), place{provider: name}, &rest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		sources, err := newSources(config, place{provider: name}, &rest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if len(sources) != len(alone)+1 || sources[len(alone)].Provider() != "kubernetes" {
			t.Errorf("on %s: %v", name, sources)
		}
	}
}

func TestASourceThatCannotBeMadeEndsTheStart(t *testing.T) {
	t.Parallel()
	bad := "nowhere"
	for name, config := range map[string]Config{
		"aws":     {AWS: AWS{Endpoint: bad}},
		"gcp":     {GCP: GCP{Endpoint: bad}},
		"azure":   {Azure: Azure{Endpoint: bad}},
		"alibaba": {Alibaba: Alibaba{Endpoint: bad}},
		"tencent": {Tencent: Tencent{Endpoint: bad}},
	} {
		if sources, err := newSources(config, place{provider: name}, &rest.Config{}); err == nil {
			t.Errorf("%s: %d sources, and no error", name, len(sources))
		}
	}
}
