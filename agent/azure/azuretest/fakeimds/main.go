// Command fakeimds serves the fake of Azure's metadata service of package
// azuretest, for trying the agent by hand.
package main

import (
	"flag"
	"time"

	"github.com/ebbtide/ebbtide/agent/azure/azuretest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest/program"
)

const usage = `fakeimds serves a fake of Azure's metadata service with Scheduled Events until it
is interrupted, and then says what it was asked for.

An eviction that comes after half a minute, to a service that wakes up first:

    go run ./agent/azure/azuretest/fakeimds --event-after 30s --asleep 20s --control 127.0.0.1:1339

While it runs, change the weather:

    curl -X PUT 'http://127.0.0.1:1339/event/7?type=Freeze&for=9s'
    curl -X PUT http://127.0.0.1:1339/fault/updating
    curl http://127.0.0.1:1339/
`

func main() { fake.Main() }

var fake = program.Program{
	Name: "fakeimds", Usage: usage, Faults: azuretest.Faults(), Control: azuretest.ControlHelp, Flags: flags,
}

// flags adds what is Azure's own.
func flags(flags *flag.FlagSet) program.Own {
	machine := flags.String("machine", azuretest.Machine, "`name` of the machine")
	asleep := flags.Duration("asleep", 0, "how long the first answer takes")
	event := flags.String("event", "Preempt", "what is scheduled: Preempt, Terminate, Reboot, Redeploy or Freeze")
	after := flags.Duration("event-after", -1, "let an event come after this `duration`; without it none comes")
	notice := flags.Duration("notice", 30*time.Second, "how long before its moment the event comes")
	return program.Own{Start: func(l program.Listen) (program.Service, error) {
		s, err := azuretest.Start(azuretest.Options{
			Listen: l.Address, KeepAlive: l.KeepAlive, Trace: l.Trace, Machine: *machine, Asleep: *asleep,
		})
		if err != nil {
			return nil, err
		}
		if *after >= 0 {
			s.ScheduleAfter(*after, azuretest.Event{
				ID: "1", Type: *event, NotBefore: s.Now().Add(*after + *notice), Duration: -1,
			})
		}
		return s, nil
	}}
}
