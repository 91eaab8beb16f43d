package main

import (
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/azure"
	"github.com/ebbtide/ebbtide/agent/gcp"
	"github.com/ebbtide/ebbtide/agent/metadata"
	"github.com/ebbtide/ebbtide/agent/stamp"
	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

// auto finds the provider from the Node.
const auto = "auto"

// AWS says how to ask the EC2 metadata service.
type AWS struct {
	// Endpoint is its address; empty means the one that EC2 documents.
	Endpoint string `yaml:"endpoint"`
	// AllowIMDSv1 lets the agent ask without a session token where the metadata
	// service gives none. Off, because anything on the node can forge such a call.
	AllowIMDSv1 bool `yaml:"allowIMDSv1"`
	// PollInterval is the time between two questions for the interruption notice.
	PollInterval time.Duration `yaml:"pollInterval"`
	// Rebalance, Maintenance and Lifecycle are what is read besides: rebalance
	// recommendations, scheduled events, and the target state of an Auto Scaling group.
	Rebalance   bool `yaml:"rebalance"`
	Maintenance bool `yaml:"maintenance"`
	Lifecycle   bool `yaml:"lifecycle"`
	// LifecycleNotice is how long the group's hook holds a termination back.
	LifecycleNotice time.Duration `yaml:"lifecycleNotice"`
}

// reads says whether the source of that name is wanted.
func (a AWS) reads(source agent.Source) bool {
	wanted, optional := map[string]bool{
		"rebalance": a.Rebalance, "maintenance": a.Maintenance, "lifecycle": a.Lifecycle,
	}[source.Name()]
	return wanted || !optional
}

// GCP says how to ask the metadata server of Compute Engine.
type GCP struct {
	// Endpoint is its address; empty means the one that Google documents.
	Endpoint string `yaml:"endpoint"`
}

// Azure says how to ask Azure's metadata service for Scheduled Events.
type Azure struct {
	// Endpoint is its address; empty means the one that Azure documents.
	Endpoint string `yaml:"endpoint"`
	// Acknowledge tells Azure when the machine of an event is empty, so that it need not
	// wait any longer. Off, because what it brings forward is the end of the machine.
	Acknowledge bool `yaml:"acknowledge"`
}

// Alibaba says how to ask the metadata service of Alibaba Cloud.
type Alibaba struct {
	// Endpoint is its address; empty means the one that Alibaba Cloud documents.
	Endpoint string `yaml:"endpoint"`
}

// Tencent says how to ask the metadata service of Tencent Cloud.
type Tencent struct {
	// Endpoint is its address; empty means the one that Tencent Cloud documents.
	Endpoint string `yaml:"endpoint"`
}

// Cluster says whether the cluster is listened to besides the cloud.
type Cluster struct {
	// Enabled watches the agent's own Node for what others are about to do to it. Off, so
	// that an idle agent holds no watch.
	Enabled bool `yaml:"enabled"`
}

const (
	// Every program on the node shares the metadata service, and EC2 throttles the
	// instance as a whole: once a second is enough, and tokens come on top. Every five
	// seconds is what its guide advises at least.
	minPollInterval = time.Second
	maxPollInterval = 5 * time.Second
	// A hook that waits for less leaves no drain. More than two hours is more than a
	// heartbeat can be.
	minLifecycleNotice = time.Minute
	maxLifecycleNotice = 2 * time.Hour
)

// checkClouds adds what is wrong with the groups of the clouds, also of those that the
// node does not run in: a mistake is one before the file comes to such a node, too.
func (c Config) checkClouds(found *settings.Errors) {
	found.Check("aws.endpoint", endpointProblem(c.AWS.Endpoint, aws.DefaultEndpoint))
	found.Check("aws.pollInterval", settings.Range(c.AWS.PollInterval, minPollInterval, maxPollInterval))
	found.Check("aws.lifecycleNotice", settings.Range(c.AWS.LifecycleNotice, minLifecycleNotice, maxLifecycleNotice))
	found.Check("gcp.endpoint", endpointProblem(c.GCP.Endpoint, gcp.DefaultEndpoint))
	found.Check("azure.endpoint", endpointProblem(c.Azure.Endpoint, azure.DefaultEndpoint))
	found.Check("alibaba.endpoint", endpointProblem(c.Alibaba.Endpoint, stamp.AlibabaEndpoint))
	found.Check("tencent.endpoint", endpointProblem(c.Tencent.Endpoint, stamp.TencentEndpoint))
}

// endpointProblem says what is wrong with the address of a metadata service, such being
// one that is good.
func endpointProblem(endpoint, such string) string {
	if endpoint == "" {
		return ""
	}
	if err := metadata.CheckEndpoint(endpoint, such); err != nil {
		return err.Error()
	}
	return ""
}
