package main

import (
	"fmt"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/azure"
	"github.com/ebbtide/ebbtide/agent/gcp"
	"github.com/ebbtide/ebbtide/agent/stamp"
)

// newSources returns what config has the agent watch. They ask nothing yet.
func newSources(config Config) ([]agent.Source, error) {
	var found sources
	switch config.Provider {
	case onAWS:
		found.take(aws.NewSpot(aws.Options{
			Endpoint: config.AWS.Endpoint, AllowIMDSv1: config.AWS.AllowIMDSv1, PollInterval: config.AWS.PollInterval,
		}))
	case onGCP:
		options := gcp.Options{Endpoint: config.GCP.Endpoint}
		found.take(gcp.NewPreempted(options))
		found.take(gcp.NewMaintenanceEvent(options))
		found.take(gcp.NewUpcomingMaintenance(options))
	case onAzure:
		found.take(azure.NewScheduledEvents(azure.Options{Endpoint: config.Azure.Endpoint}))
	case onAlibaba:
		found.take(stamp.NewAlibaba(stamp.Options{Endpoint: config.Alibaba.Endpoint}))
	case onTencent:
		found.take(stamp.NewTencent(stamp.Options{Endpoint: config.Tencent.Endpoint}))
	case onNone:
	}
	if found.err != nil {
		return nil, fmt.Errorf("making the sources of %q: %w", config.Provider, found.err)
	}
	return found.made, nil
}

// sources gathers those that could be made, and the first error.
type sources struct {
	made []agent.Source
	err  error
}

func (s *sources) take(source agent.Source, err error) {
	switch {
	case s.err != nil:
	case err != nil:
		s.err = err
	default:
		s.made = append(s.made, source)
	}
}
