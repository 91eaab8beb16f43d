package main

import (
	"context"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// The names of the contenders, here and in the figures.
const (
	ebbtide       = "ebbtide"
	kubectlQPS5   = "kubectl_qps5"
	kubectlQPS100 = "kubectl_qps100"
)

// contender is somebody who empties nodes.
type contender struct {
	name, help string
	// account is the name of its ServiceAccount, which tells its requests apart.
	account string
	rules   func() []rbacv1.PolicyRule
	// enter makes it ready to drain the doomed nodes of a stage. The kubeconfig is
	// that of its account.
	enter func(ctx context.Context, b *bench, s *stage, kubeconfig string) (rival, error)
}

// rival is a contender on a stage.
type rival interface {
	// warn makes the notices readable for all nodes at once and does not wait.
	warn(ctx context.Context, deadline time.Time)
	// perish ends it without a warning, as the end of its machines does, and returns
	// when nothing is left of it. A second call does nothing.
	perish() error
	// failures returns how many drains have said that they failed. It is for what has
	// no log to look at.
	failures() int
}

// agentRules is all that the agent asks for: to drain, and to report.
func agentRules() []rbacv1.PolicyRule {
	return slices.Concat(drain.PolicyRules(), report.PolicyRules())
}

var contenders = []contender{
	{
		name: ebbtide, account: "ebbtide", help: "the agent's program, one process on each doomed node",
		rules: agentRules, enter: enterEbbtide,
	},
	{
		name: kubectlQPS5, account: "kubectl-qps5", rules: kubectlRules, enter: enterKubectl(5, 10),
		help: "k8s.io/kubectl/pkg/drain with client-go's default throttle (QPS 5, burst 10), a client for each node",
	},
	{
		name: kubectlQPS100, account: "kubectl-qps100", rules: kubectlRules, enter: enterKubectl(100, 200),
		help: "the same with QPS 100, burst 200",
	},
}

func contenderNames() []string {
	var names []string
	for _, c := range contenders {
		names = append(names, c.name)
	}
	return names
}

// user returns the contender's user on a stage, as the audit log has it.
func (c contender) user(s *stage) string { return lab.ServiceAccountUser(s.namespace, c.account) }
