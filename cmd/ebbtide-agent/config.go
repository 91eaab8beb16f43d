package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/provider"
	"github.com/ebbtide/ebbtide/cmd/internal/settings"
	"github.com/ebbtide/ebbtide/drain"
)

// Config is everything that can be said to the agent. The file is YAML with these
// fields and no others; what it leaves out keeps the value of Default.
type Config struct {
	// NodeName is the node that the agent looks after. It has no default.
	NodeName string `yaml:"nodeName"`
	// Provider is the cloud that the node runs in; one of Providers. What the file says
	// of the other clouds is not used.
	Provider string  `yaml:"provider"`
	AWS      AWS     `yaml:"aws"`
	GCP      GCP     `yaml:"gcp"`
	Azure    Azure   `yaml:"azure"`
	Alibaba  Alibaba `yaml:"alibaba"`
	Tencent  Tencent `yaml:"tencent"`
	Cluster  Cluster `yaml:"cluster"`
	Respond  Respond `yaml:"respond"`
	Advice   Advice  `yaml:"advice"`
	Drain    Drain   `yaml:"drain"`
	Drill    Drill   `yaml:"drill"`
	// Listen is the address for metrics and health. Port 0 means any free port;
	// the agent's first log line says which.
	Listen string       `yaml:"listen"`
	Log    settings.Log `yaml:"log"`
	// Kubeconfig is a file that says how to reach the API server; empty means the
	// service account of the pod that the agent runs in.
	Kubeconfig string `yaml:"kubeconfig"`
	// DryRun makes the agent say what it would do, and do nothing. It is a flag
	// only: a file that is left behind must not disarm a fleet.
	DryRun bool `yaml:"-"`
}

// Drain says how the node is emptied.
type Drain struct {
	// DaemonSets moves the pods of DaemonSets too, as the last group. Off, because
	// the node's own network and logs are usually among them.
	DaemonSets bool `yaml:"daemonSets"`
	// VolumeDetach is kept free, after the end of a pod with volumes, for their
	// detaching.
	VolumeDetach time.Duration `yaml:"volumeDetach"`
	// Concurrency is how many pods may be asked to leave at the same time, over all
	// disruption budgets; how many of one budget adapts by itself.
	Concurrency int `yaml:"concurrency"`
	// HandOver says when a pod of a Deployment is replaced before it goes: one of
	// HandOvers. A pod's own annotation ebbtide.dev/hand-over overrides it.
	HandOver string `yaml:"handOver"`
}

// Drill says how drills are ordered.
type Drill struct {
	// Socket is where the agent listens for them: the path of a file in a folder that
	// is there. Empty means nowhere.
	Socket string `yaml:"socket"`
}

// The values that a field with a closed set may have.
var (
	Providers = slices.Concat([]string{auto}, provider.All)
	HandOvers = []string{
		string(drain.HandOverWhenBlocked), string(drain.HandOverAlways), string(drain.HandOverNever),
	}
)

// The bounds of the fields that have some.
const (
	// Half of a spot notice.
	maxVolumeDetach = time.Minute
	// More than the pods that a kubelet takes by default is a slip of the pen.
	maxConcurrency = 100
	// The kernel takes 107 bytes (unix(7)), and the socket is made under a longer name.
	maxSocket = 85
)

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		Provider: auto,
		AWS: AWS{
			PollInterval: time.Second, Rebalance: true, Maintenance: true, Lifecycle: true,
			LifecycleNotice: aws.DefaultLifecycleNotice,
		},
		Respond: defaultRespond(),
		Advice:  Advice{Priority: systemCritical},
		Drain:   Drain{VolumeDetach: 12 * time.Second, Concurrency: 64, HandOver: string(drain.HandOverWhenBlocked)},
		Drill:   Drill{Socket: "/run/ebbtide/drill.sock"},
		Listen:  ":9808",
		Log:     settings.Log{Level: "info", Format: "json"},
	}
}

// Validate returns every value that the agent cannot work with as settings.Errors, and
// nil if there is none. It looks at the values alone: no file is opened, nothing is asked.
func (c Config) Validate() error {
	var found settings.Errors
	found.Check("nodeName", nodeNameProblem(c.NodeName))
	found.Check("provider", settings.Choice(c.Provider, Providers))
	c.checkClouds(&found)
	c.checkResponses(&found)
	found.Check("drain.volumeDetach", settings.Range(c.Drain.VolumeDetach, 0, maxVolumeDetach))
	found.Check("drain.handOver", settings.Choice(c.Drain.HandOver, HandOvers))
	found.Check("drain.concurrency", settings.Range(c.Drain.Concurrency, 1, maxConcurrency))
	found.Check("drill.socket", socketProblem(c.Drill.Socket))
	found.Check("listen", settings.Listen(c.Listen, ":9808"))
	found.Check("log.level", settings.Choice(c.Log.Level, settings.LogLevels))
	found.Check("log.format", settings.Choice(c.Log.Format, settings.LogFormats))
	return found.OrNil()
}

func nodeNameProblem(name string) string {
	if name == "" {
		return "is missing: set --node-name, or $NODE_NAME from the field spec.nodeName of the pod"
	}
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Sprintf("%q is not a node name: lower-case letters, digits, '-' and '.'", name)
	}
	return ""
}

func socketProblem(socket string) string {
	switch {
	case socket == "":
		return ""
	case !filepath.IsAbs(socket) || filepath.Clean(socket) != socket:
		return fmt.Sprintf("%q is not the whole path of a file", socket)
	case len(socket) > maxSocket:
		return fmt.Sprintf("%q is longer than %d bytes", socket, maxSocket)
	}
	return ""
}
