package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEachProviderIsWatchedWhereItGivesNotices(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"aws":     {"aws-spot"},
		"gcp":     {"gcp-preempted", "gcp-maintenance-event", "gcp-upcoming-maintenance"},
		"azure":   {"azure-scheduled-events"},
		"alibaba": {"alibaba-spot"},
		"tencent": {"tencent-spot"},
		"none":    nil,
	}
	got := map[string][]string{}
	for _, provider := range Providers {
		config := Default()
		config.Provider = provider
		sources, err := newSources(config)
		if err != nil {
			t.Fatal(err)
		}
		got[provider] = nil
		for _, source := range sources {
			got[provider] = append(got[provider], source.Provider()+"-"+source.Name())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestASourceThatCannotBeMadeEndsTheStart(t *testing.T) {
	t.Parallel()
	bad := "nowhere"
	for provider, config := range map[string]Config{
		"aws":     {AWS: AWS{Endpoint: bad}},
		"gcp":     {GCP: GCP{Endpoint: bad}},
		"azure":   {Azure: Azure{Endpoint: bad}},
		"alibaba": {Alibaba: Alibaba{Endpoint: bad}},
		"tencent": {Tencent: Tencent{Endpoint: bad}},
	} {
		config.Provider = provider
		if sources, err := newSources(config); err == nil {
			t.Errorf("%s: %d sources, and no error", provider, len(sources))
		}
	}
}
