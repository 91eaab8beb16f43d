package main

import (
	"math"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/cmd/internal/settings"
	"github.com/ebbtide/ebbtide/drain"
)

// Respond says what is done about which notice: each field but the durations is one of
// Responses.
type Respond struct {
	SpotInterruption string `yaml:"spotInterruption"`
	RebalanceAdvice  string `yaml:"rebalanceAdvice"`
	// Maintenance is that which ends the machine or its pods, Migration and Freeze are
	// those that both live through.
	Maintenance       string `yaml:"maintenance"`
	Migration         string `yaml:"migration"`
	Freeze            string `yaml:"freeze"`
	ScaleIn           string `yaml:"scaleIn"`
	NodeShutdown      string `yaml:"nodeShutdown"`
	ClusterDisruption string `yaml:"clusterDisruption"`
	// ShortFreeze, Lead and TTL are those of agent.Rules.
	ShortFreeze time.Duration `yaml:"shortFreeze"`
	Lead        time.Duration `yaml:"lead"`
	TTL         time.Duration `yaml:"ttl"`
}

// Advice says who moves on an advice.
type Advice struct {
	// Priority is the priority from which on a pod is critical. A pod's own annotation
	// ebbtide.dev/critical overrides it.
	Priority int `yaml:"priority"`
}

// Responses are the values of the fields of Respond.
var Responses = texts(agent.Responses)

const (
	// A freeze of a quarter of an hour is nobody's short one.
	maxShortFreeze = 15 * time.Minute
	// What takes less than a minute to leave needs no lead, and to empty a node hours
	// ahead costs what it is to spare.
	minLead, maxLead = time.Minute, 12 * time.Hour
	// No advice is worth less than the time to move, or holds for longer than a day.
	minTTL, maxTTL = time.Minute, 24 * time.Hour
	// systemCritical is the priority of system-cluster-critical, which DNS has and what
	// else the cluster itself leans on.
	systemCritical = 2_000_000_000
)

func defaultRespond() Respond {
	rules := agent.DefaultRules()
	return Respond{
		SpotInterruption:  string(rules.Kinds[agent.SpotInterruption]),
		RebalanceAdvice:   string(rules.Kinds[agent.RebalanceAdvice]),
		Maintenance:       string(rules.Kinds[agent.Maintenance]),
		Migration:         string(rules.Actions[agent.Migrate]),
		Freeze:            string(rules.Actions[agent.Freeze]),
		ScaleIn:           string(rules.Kinds[agent.ScaleIn]),
		NodeShutdown:      string(rules.Kinds[agent.NodeShutdown]),
		ClusterDisruption: string(rules.Kinds[agent.ClusterDisruption]),
		ShortFreeze:       rules.ShortFreeze, Lead: rules.Lead, TTL: rules.TTL,
	}
}

// rules are what Respond says, as the agent wants it.
func (r Respond) rules() agent.Rules {
	return agent.Rules{
		Kinds: map[agent.Kind]agent.Response{
			agent.SpotInterruption:  agent.Response(r.SpotInterruption),
			agent.RebalanceAdvice:   agent.Response(r.RebalanceAdvice),
			agent.Maintenance:       agent.Response(r.Maintenance),
			agent.ScaleIn:           agent.Response(r.ScaleIn),
			agent.NodeShutdown:      agent.Response(r.NodeShutdown),
			agent.ClusterDisruption: agent.Response(r.ClusterDisruption),
		},
		Actions: map[agent.Action]agent.Response{
			agent.Migrate: agent.Response(r.Migration), agent.Freeze: agent.Response(r.Freeze),
		},
		ShortFreeze: r.ShortFreeze, Lead: r.Lead, TTL: r.TTL,
	}
}

// selection is what Advice says, as the agent wants it.
func (a Advice) selection() drain.Selection {
	return drain.Selection{Priority: new(int32(a.Priority))} //nolint:gosec // G115: checkResponses has seen that it fits
}

// checkResponses adds what is wrong with the groups respond and advice.
func (c Config) checkResponses(found *settings.Errors) {
	for _, field := range []struct{ name, value string }{
		{"spotInterruption", c.Respond.SpotInterruption},
		{"rebalanceAdvice", c.Respond.RebalanceAdvice},
		{"maintenance", c.Respond.Maintenance},
		{"migration", c.Respond.Migration},
		{"freeze", c.Respond.Freeze},
		{"scaleIn", c.Respond.ScaleIn},
		{"nodeShutdown", c.Respond.NodeShutdown},
		{"clusterDisruption", c.Respond.ClusterDisruption},
	} {
		found.Check("respond."+field.name, settings.Choice(field.value, Responses))
	}
	found.Check("respond.shortFreeze", settings.Range(c.Respond.ShortFreeze, 0, maxShortFreeze))
	found.Check("respond.lead", settings.Range(c.Respond.Lead, minLead, maxLead))
	found.Check("respond.ttl", settings.Range(c.Respond.TTL, minTTL, maxTTL))
	found.Check("advice.priority", settings.Range(c.Advice.Priority, 0, math.MaxInt32))
}

// texts are values as the file has them.
func texts[T ~string](values []T) []string {
	said := make([]string, len(values))
	for i, value := range values {
		said[i] = string(value)
	}
	return said
}
