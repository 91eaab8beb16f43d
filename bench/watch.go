package main

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/azure/azuretest"
	"github.com/ebbtide/ebbtide/agent/gcp/gcptest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// cloud is where an agent learns of its notices.
type cloud struct {
	provider string // as the agent's file has it
	suffix   string // of the keys of its scenarios
	path     string // where the agent reads of an interruption
	// every is how long after one request for path the next one comes.
	every time.Duration
	// notices is what the agent does there, for titles.
	notices string
	serve   func() (*service, error)
}

// service is a fake metadata service.
type service struct {
	*metadatatest.Server
	// interrupt makes a notice readable now.
	interrupt func()
	// open is how many requests are being answered; nil where none is kept waiting.
	open *openRequests
}

// The clouds, with the paces of their sources: a poll each second, or a long poll that
// the server holds for five.
var (
	onAWS = cloud{
		provider: "aws", path: awstest.NoticePath, every: time.Second, notices: "polled each second", serve: serveAWS,
	}
	onGCP = cloud{
		provider: "gcp", suffix: "_gcp", path: gcptest.PreemptedPath, every: 5 * time.Second,
		notices: "by long poll", serve: serveGCP,
	}
	onAzure = cloud{
		provider: "azure", suffix: "_azure", path: azuretest.EventsPath, every: time.Second,
		notices: "polled each second", serve: serveAzure,
	}
	clouds = []cloud{onAWS, onGCP, onAzure}
)

func serveAWS() (*service, error) {
	s, err := awstest.Start(awstest.Options{})
	if err != nil {
		return nil, err
	}
	return &service{Server: s.Server, interrupt: func() { s.Interrupt("terminate", time.Now().Add(2*time.Minute)) }}, nil
}

func serveGCP() (*service, error) {
	open := &openRequests{now: map[string]int{}}
	s, err := gcptest.Start(gcptest.Options{Arrived: open.arrived, Trace: open.answered})
	if err != nil {
		return nil, err
	}
	return &service{Server: s.Server, interrupt: func() { s.Preempt(0) }, open: open}, nil
}

func serveAzure() (*service, error) {
	s, err := azuretest.Start(azuretest.Options{})
	if err != nil {
		return nil, err
	}
	return &service{Server: s.Server, interrupt: func() {
		s.Schedule(azuretest.Event{ID: "A5C1E9D0-0000-4E3B-9B3A-000000000001", Type: "Preempt", NotBefore: time.Now().Add(30 * time.Second)})
	}}, nil
}

// openRequests counts the requests that have arrived and are not answered, by path.
type openRequests struct {
	mu   sync.Mutex
	now  map[string]int
	most int // of one path at a time
}

func (o *openRequests) arrived(r metadatatest.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now[r.Path]++
	o.most = max(o.most, o.now[r.Path])
}

func (o *openRequests) answered(r metadatatest.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now[r.Path]--
}

// peak returns the most requests for one path that were open at a time.
func (o *openRequests) peak() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.most
}

// watch is an agent that looks after a node of its own.
type watch struct {
	cloud    cloud
	node     *lab.Node
	metadata *service
	user     string
	agent    *agentrun.Agent
}

// newWatch adds a node called name and starts an agent for it, with an account of
// its own so that its requests can be told apart.
func (b *bench) newWatch(ctx context.Context, c cloud, name string) (*watch, error) {
	// Other scenarios may take place in the same cluster: their pods stay away.
	node, err := b.lab.AddNode(ctx, lab.NodeSpec{
		Name: name, Labels: map[string]string{"bench": name},
		Taints: []corev1.Taint{{Key: "bench", Value: name, Effect: corev1.TaintEffectNoSchedule}},
	})
	if err != nil {
		return nil, err
	}
	w := &watch{cloud: c, node: node, user: lab.ServiceAccountUser("ebbtide", name)}
	kubeconfig, err := b.lab.ServiceAccount(ctx, "ebbtide", name, agentRules())
	if err != nil {
		return nil, err
	}
	if w.metadata, err = c.serve(); err != nil {
		return nil, err
	}
	w.agent, err = agentrun.Start(ctx, agentrun.Options{
		Binary: b.program, Node: name, Kubeconfig: kubeconfig, Dir: b.dir, Provider: c.provider, Endpoint: w.metadata.URL(),
	})
	if err != nil {
		return nil, errors.Join(err, w.end(ctx))
	}
	ready, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := w.agent.Ready(ready); err != nil {
		return nil, errors.Join(err, w.end(ctx))
	}
	return w, nil
}

// end ends what newWatch started.
func (w *watch) end(ctx context.Context) error {
	w.metadata.Close()
	if w.agent == nil {
		return nil
	}
	return errors.Join(w.agent.Kill(), w.node.Remove(context.WithoutCancel(ctx)))
}

// asked returns when the agent last asked for the path of its notices; zero if it never
// did.
func (w *watch) asked() time.Time {
	var last time.Time
	for _, r := range w.metadata.Log() {
		if r.Path == w.cloud.path {
			last = r.At
		}
	}
	return last
}
