package lab

import (
	"context"
	"fmt"
)

// janitorScript removes the folder $1 once its standard input has ended, that is
// once the lab's process closed it or died. A line "+PID" names a component that
// was paused and "-PID" one that goes on: a stopped process cannot see its own
// pipe end, so the janitor wakes it, and it exits by itself. The removal is
// repeated until the folder stays away, because a component that is just about to
// exit may still create a file in it.
const janitorScript = `
trap '' HUP INT TERM
paused=' '
while read -r line; do
  pid=${line#?}
  case $line in
  +*) paused="$paused$pid " ;;
  -*) case $paused in *" $pid "*) paused="${paused%% $pid *} ${paused#* $pid }" ;; esac ;;
  esac
done
for pid in $paused; do kill -CONT "$pid" 2>/dev/null; done
tries=0 absent=0
while [ $absent -lt 2 ] && [ $tries -lt 100 ]; do
  tries=$((tries + 1))
  if [ -e "$1" ]; then absent=0; rm -rf "$1" 2>/dev/null; else absent=$((absent + 1)); fi
  [ $absent -lt 2 ] && sleep 0.1
done
`

// janitor is the process that outlives the lab's own by a moment and cleans up.
type janitor struct {
	process *process
}

// startJanitor begins to guard a folder. It works in "/", since a process may not
// sit in the folder that it removes.
func startJanitor(ctx context.Context, folder string) (*janitor, error) {
	p, err := startProcess(ctx, "/", "/dev/null", "/bin/sh", "-c", janitorScript, "ebbtide-lab-janitor", folder)
	if err != nil {
		return nil, fmt.Errorf("starting the janitor of %q: %w", folder, err)
	}
	return &janitor{process: p}, nil
}

// paused and resumed keep the janitor's list of stopped processes. They come
// before SIGSTOP and after SIGCONT, so that no moment exists in which a stopped
// process is unknown to it.
func (j *janitor) paused(p *process) error  { return j.tell('+', p) }
func (j *janitor) resumed(p *process) error { return j.tell('-', p) }

func (j *janitor) tell(sign byte, p *process) error {
	if _, err := fmt.Fprintf(j.process.stdin, "%c%d\n", sign, p.pid()); err != nil {
		return fmt.Errorf("telling the janitor: %w", err)
	}
	return nil
}

// clean ends the guard now and returns when the folder is gone.
func (j *janitor) clean() {
	_ = j.process.stdin.Close()
	<-j.process.exited
}
