package main

import (
	"log/slog"
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

func TestOnlyADrainIsAcknowledgedAndNoRehearsal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ asked, rehearsal, want bool }{
		"a drain, if nobody has asked for it": {false, false, false},
		"a drain":                             {true, false, true},
		"a rehearsal":                         {true, true, false},
	} {
		config := Default()
		config.NodeName, config.Kubeconfig = "node-1", kubeconfigOfNobody(t)
		config.Azure.Acknowledge, config.DryRun = c.asked, c.rehearsal
		built, err := build(config, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got := built.agent.Acknowledge; got != c.want {
			t.Errorf("%s is acknowledged: %t, want %t", name, got, c.want)
		}
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
