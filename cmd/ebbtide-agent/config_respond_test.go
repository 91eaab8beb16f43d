package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent"
)

func TestTheDefaultResponsesAreTheAgentsOwn(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(agent.DefaultRules(), Default().Respond.rules()); diff != "" {
		t.Errorf("rules (-agent +configuration):\n%s", diff)
	}
}

func TestEveryResponseGoesWhereItBelongs(t *testing.T) {
	t.Parallel()
	want := agent.Rules{
		Kinds: map[agent.Kind]agent.Response{
			agent.SpotInterruption: "a", agent.RebalanceAdvice: "b", agent.Maintenance: "c", agent.ScaleIn: "f",
			agent.NodeShutdown: "g", agent.ClusterDisruption: "h",
		},
		Actions:     map[agent.Action]agent.Response{agent.Migrate: "d", agent.Freeze: "e"},
		ShortFreeze: full.Respond.ShortFreeze, Lead: full.Respond.Lead, TTL: full.Respond.TTL,
	}
	if diff := cmp.Diff(want, full.Respond.rules()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}
