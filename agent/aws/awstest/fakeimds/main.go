// Command fakeimds serves the fake EC2 metadata service of package awstest, for
// trying the agent by hand.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest/program"
)

const usage = `fakeimds serves a fake EC2 metadata service (IMDSv2) until it is interrupted,
and then says what it was asked for.

Try the agent against it: in one terminal, a notice of two minutes that comes
after half a minute,

    go run ./agent/aws/awstest/fakeimds --interrupt-after 30s --control 127.0.0.1:1339

and in another an agent that has this in agent.yaml:

    aws:
      endpoint: http://127.0.0.1:1338

    ebbtide-agent --config agent.yaml --node-name my-node --dry-run

While both run, change the weather:

    curl -X PUT http://127.0.0.1:1339/fault/hanging-token
    curl -X DELETE http://127.0.0.1:1339/fault
    curl http://127.0.0.1:1339/

What else EC2 announces comes by a flag (--rebalance-after, --maintenance-after,
--target-after), or in the same way, an interruption on top of it:

    curl -X POST http://127.0.0.1:1339/rebalance
    curl -X POST 'http://127.0.0.1:1339/schedule/event-1?code=instance-stop&in=15m'
    curl -X POST 'http://127.0.0.1:1339/schedule/event-1?code=instance-stop&state=canceled'
    curl -X POST 'http://127.0.0.1:1339/target?state=Terminated'
    curl -X POST http://127.0.0.1:1339/interrupt
`

func main() { fake.Main() }

var fake = program.Program{
	Name: "fakeimds", Usage: usage, Faults: awstest.Definitions(), Control: awstest.ControlHelp, Flags: flags,
}

// announced is what the flags announce; nil is never.
type announced struct {
	interruptAfter   *time.Duration
	action           string
	notice           time.Duration
	takeBackAfter    *time.Duration
	rebalanceAfter   *time.Duration
	maintenanceAfter *time.Duration
	code             string
	maintenanceIn    time.Duration
	targetAfter      *time.Duration
	target           string
}

// flags adds what is EC2's own.
func flags(flags *flag.FlagSet) program.Own {
	var a announced
	flags.Func("interrupt-after", "let a notice come after this `duration`; without it none comes", optional(&a.interruptAfter))
	flags.StringVar(&a.action, "action", "terminate", "what the notice announces: terminate, stop or hibernate")
	flags.DurationVar(&a.notice, "notice", 2*time.Minute, "how long before the interruption the notice comes")
	flags.Func("take-back-after", "let the notice vanish this `duration` after it came; without it it stays", optional(&a.takeBackAfter))
	flags.Func("rebalance-after", "recommend to leave the instance after this `duration`; without it that never comes", optional(&a.rebalanceAfter))
	flags.Func("maintenance-after", "schedule maintenance after this `duration`; without it none is", optional(&a.maintenanceAfter))
	flags.StringVar(&a.code, "maintenance", "system-reboot", "what is scheduled: instance-stop, instance-retirement, instance-reboot, system-reboot or system-maintenance")
	flags.DurationVar(&a.maintenanceIn, "maintenance-in", 24*time.Hour, "how long before the maintenance it is scheduled")
	flags.Func("target-after", "let the Auto Scaling group move the instance after this `duration`; without it it has no group", optional(&a.targetAfter))
	flags.StringVar(&a.target, "target", "Terminated", "the state that the group moves the instance to")
	return program.Own{Check: a.check, Start: a.start}
}

// optional reads a duration that has no default.
func optional(to **time.Duration) func(string) error {
	return func(value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return fmt.Errorf("%q is not a duration such as 30s", value)
		}
		*to = &d
		return nil
	}
}

func (a *announced) check() error {
	var wrong []error
	if a.notice < 0 {
		wrong = append(wrong, fmt.Errorf("--notice: %s is negative", a.notice))
	}
	if a.maintenanceIn < 0 {
		wrong = append(wrong, fmt.Errorf("--maintenance-in: %s is negative", a.maintenanceIn))
	}
	if a.takeBackAfter != nil && a.interruptAfter == nil {
		wrong = append(wrong, errors.New("--take-back-after: there is no --interrupt-after"))
	}
	return errors.Join(wrong...)
}

func (a *announced) start(l program.Listen) (program.Service, error) {
	s, err := awstest.Start(awstest.Options{Listen: l.Address, KeepAlive: l.KeepAlive, Trace: l.Trace})
	if err != nil {
		return nil, err
	}
	if a.interruptAfter != nil {
		s.InterruptAfter(*a.interruptAfter, a.action, a.notice)
		if a.takeBackAfter != nil {
			s.TakeBackAfter(*a.interruptAfter + *a.takeBackAfter)
		}
	}
	if a.rebalanceAfter != nil {
		s.Rebalance(*a.rebalanceAfter)
	}
	if a.maintenanceAfter != nil {
		begins := s.Now().Add(*a.maintenanceAfter + a.maintenanceIn)
		s.Schedule(*a.maintenanceAfter, awstest.Event{
			ID: eventID, Code: a.code, NotBefore: begins, NotAfter: begins.Add(2 * time.Hour),
		})
	}
	if a.targetAfter != nil {
		s.Target(*a.targetAfter, a.target)
	}
	return service{s.Server, s.Control()}, nil
}

// eventID is that of the maintenance that a flag schedules.
const eventID = "instance-event-0ebb71de0ebb71de0"

// service is the fake by the names that the frame has for its faults.
type service struct {
	*metadatatest.Server
	control http.Handler
}

func (s service) Control() http.Handler { return s.control }
