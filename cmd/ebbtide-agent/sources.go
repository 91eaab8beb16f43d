package main

import (
	"fmt"

	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/azure"
	"github.com/ebbtide/ebbtide/agent/cluster"
	"github.com/ebbtide/ebbtide/agent/gcp"
	"github.com/ebbtide/ebbtide/agent/provider"
	"github.com/ebbtide/ebbtide/agent/stamp"
)

// newSources returns what there is to watch where the machine runs, as config has it, and
// on the API server. They ask nothing yet.
func newSources(config Config, where place, access *rest.Config) ([]agent.Source, error) {
	var found sources
	switch where.provider {
	case provider.AWS:
		all, err := aws.NewSources(aws.Options{
			Endpoint: config.AWS.Endpoint, AllowIMDSv1: config.AWS.AllowIMDSv1, PollInterval: config.AWS.PollInterval,
			LifecycleNotice: config.AWS.LifecycleNotice, Instance: aws.InstanceID(where.providerID),
		})
		for _, source := range all {
			if config.AWS.reads(source) {
				found.take(source, nil)
			}
		}
		found.err = err
	case provider.GCP:
		options := gcp.Options{Endpoint: config.GCP.Endpoint}
		found.take(gcp.NewPreempted(options))
		found.take(gcp.NewMaintenanceEvent(options))
		found.take(gcp.NewUpcomingMaintenance(options))
	case provider.Azure:
		found.take(azure.NewScheduledEvents(azure.Options{
			Endpoint: config.Azure.Endpoint, Machine: azure.MachineName(where.providerID),
		}))
	case provider.Alibaba:
		found.take(stamp.NewAlibaba(stamp.Options{
			Endpoint: config.Alibaba.Endpoint, Instance: stamp.InstanceID(where.providerID),
		}))
	case provider.Tencent:
		found.take(stamp.NewTencent(stamp.Options{
			Endpoint: config.Tencent.Endpoint, Instance: stamp.InstanceID(where.providerID),
		}))
	case provider.None:
	}
	if config.Cluster.Enabled {
		found.take(cluster.New(access, config.NodeName))
	}
	if found.err != nil {
		return nil, fmt.Errorf("making the sources of %q: %w", where.provider, found.err)
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
