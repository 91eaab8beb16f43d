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
`

func main() { fake.Main() }

var fake = program.Program{
	Name: "fakeimds", Usage: usage, Faults: awstest.Definitions(), Control: awstest.ControlHelp, Flags: flags,
}

// interruption is what the flags announce.
type interruption struct {
	after         *time.Duration // nil: never
	action        string
	notice        time.Duration
	takeBackAfter *time.Duration // nil: never
}

// flags adds what is EC2's own.
func flags(flags *flag.FlagSet) program.Own {
	var i interruption
	flags.Func("interrupt-after", "let a notice come after this `duration`; without it none comes", optional(&i.after))
	flags.StringVar(&i.action, "action", "terminate", "what the notice announces: terminate, stop or hibernate")
	flags.DurationVar(&i.notice, "notice", 2*time.Minute, "how long before the interruption the notice comes")
	flags.Func("take-back-after", "let the notice vanish this `duration` after it came; without it it stays", optional(&i.takeBackAfter))
	return program.Own{Check: i.check, Start: i.start}
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

func (i *interruption) check() error {
	var wrong []error
	if i.notice < 0 {
		wrong = append(wrong, fmt.Errorf("--notice: %s is negative", i.notice))
	}
	if i.takeBackAfter != nil && i.after == nil {
		wrong = append(wrong, errors.New("--take-back-after: there is no --interrupt-after"))
	}
	return errors.Join(wrong...)
}

func (i *interruption) start(l program.Listen) (program.Service, error) {
	s, err := awstest.Start(awstest.Options{Listen: l.Address, KeepAlive: l.KeepAlive, Trace: l.Trace})
	if err != nil {
		return nil, err
	}
	if i.after != nil {
		s.InterruptAfter(*i.after, i.action, i.notice)
		if i.takeBackAfter != nil {
			s.TakeBackAfter(*i.after + *i.takeBackAfter)
		}
	}
	return service{s.Server, s.Control()}, nil
}

// service is the fake by the names that the frame has for its faults.
type service struct {
	*metadatatest.Server
	control http.Handler
}

func (s service) Control() http.Handler { return s.control }
