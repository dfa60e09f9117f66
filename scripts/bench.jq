# From the lines that scripts/bench records to its table.
#
# In: [{row, who, run, seconds, …}]. Out: {machine, rows: {ROW: {SIDE: {…}}}, table}.
# Promise: a ratio is the median over the runs of peer's seconds divided by ours, both of the same run.

def median: sort | if length == 0 then null else (.[((length - 1) / 2 | floor)] + .[(length / 2 | floor)]) / 2 end;
def fixed(digits): if . == null then "–" else pow(10; digits) as $p | (. * $p | round) / $p | tostring end;
def mb: if . == null then "–" else (. / 1e6 | fixed(1)) + " MB" end;
def mib: if . == null then "–" else (. / 1024 | fixed(0)) + " MiB" end;
def times: if . == null then "–" else fixed(2) + "×" end;
def percent: if . == null then "–" else (. * 100 | fixed(2)) + " %" end;
# The target beside the figure, and whether it was met.
def against(figure; met; target): if figure == "–" then "–" else figure + " (" + target + ": " + (if met then "met" else "**missed**" end) + ")" end;

. as $all
| def lines($row; $who): [$all[] | select(.row == $row and .who == $who)];
  def middle($row; $who; $name): [lines($row; $who)[] | .[$name] // empty] | median;
  # Median of the runs' own ratios: seconds of the peer's row over ours.
  def ratio($peer_row; $row; $who):
    (lines($peer_row; "peer") | map({key: (.run | tostring), value: .seconds}) | from_entries) as $peer
    | [lines($row; $who)[] | ($peer[.run | tostring] // empty) / .seconds] | median;
  def peak($row; $who): [lines($row; $who)[] | .peak // empty] | max;
  def over($a; $b): if $a == null or $b == null or $b == 0 then null else $a / $b end;
  def side($who):
    middle("capture"; "peer"; "stored") as $peer_stored
    | {capture: {seconds: middle("capture"; $who; "seconds"), ratio: ratio("capture"; "capture"; $who),
         stored_bytes: middle("capture"; $who; "stored"), stored_ratio: over(middle("capture"; $who; "stored"); $peer_stored)},
       again: {seconds: middle("again"; $who; "seconds"), ratio: ratio("capture"; "again"; $who),
         stored_share: over(middle("again"; $who; "stored"); middle("capture"; $who; "stored"))},
       second: {seconds: middle("second"; $who; "seconds"), stored_bytes: middle("second"; $who; "stored"),
         stored_share: over(middle("second"; $who; "stored"); middle("capture"; $who; "stored"))},
       restore: {seconds: middle("restore"; $who; "seconds"), ratio: ratio("restore"; "restore"; $who)},
       unread: {seconds: middle("unread"; $who; "seconds"), ratio: ratio("restore"; "unread"; $who)},
       delta: {seconds: middle("delta"; $who; "seconds"), ratio: ratio("restore"; "delta"; $who),
         fetched_share: over(middle("delta"; $who; "fetched"); middle("restore"; $who; "fetched"))},
       proven: {seconds: middle("proven"; $who; "seconds"), share_of_dd: over(1; ratio("proven"; "proven"; $who))},
       memory: {agent_kib: ([$all[] | select(.who == $who) | .peak // empty] | max), agent_200g_kib: peak("memory"; $who),
         server_kib: (if $who == "server" then peak("memory"; "served") else null end)},
       sparse: {extent_bytes: middle("sparse"; $who; "bytes")}};
  {machine: $machine, runs: ([$all[].run] | max),
   peer: {capture_seconds: middle("capture"; "peer"; "seconds"), capture_synced_seconds: middle("capture"; "peer"; "synced"),
     stored_bytes: middle("capture"; "peer"; "stored"), restore_seconds: middle("restore"; "peer"; "seconds"),
     dd_seconds: middle("proven"; "peer"; "seconds"), sparse_bytes: middle("sparse"; "peer"; "bytes")},
   rows: {store: side("store"), server: side("server")}}
| .peer as $p
| def faster($r; $t): against("\($r.seconds | fixed(2)) s, \($r.ratio | times)"; $r.ratio >= $t; "≥ \($t)×");
  def cell($r; f): if $r.seconds == null then "–" else f end;
  def row($who; $c; $a; $r; $u; $d):
    .rows[$who] as $s
    | [cell($s.capture; faster($s.capture; $c) + "; stored "
         + against($s.capture.stored_ratio | times; $s.capture.stored_ratio <= 1.12; "≤ 1.12×")),
       cell($s.again; faster($s.again; $a) + "; " + against($s.again.stored_share | percent; $s.again.stored_share < 0.005; "< 0.5 %")),
       cell($s.second; against($s.second.stored_share | percent; $s.second.stored_share <= 0.25; "≤ 25 %")),
       cell($s.restore; faster($s.restore; $r)), cell($s.unread; faster($s.unread; $u)),
       cell($s.delta; faster($s.delta; $d) + "; fetched "
         + against($s.delta.fetched_share | percent; $s.delta.fetched_share < 0.01; "< 1 %")),
       cell($s.proven; "\($s.proven.seconds | fixed(2)) s, "
         + against($s.proven.share_of_dd | times; $s.proven.share_of_dd <= 1.2; "≤ 1.2× its time")),
       ($s.memory | "agent " + against(.agent_kib | mib; .agent_kib <= 262144; "≤ 256 MiB")
         + ", 200 GB disk " + (.agent_200g_kib | mib)
         + if .server_kib then "; server " + against(.server_kib | mib; .server_kib <= 262144; "≤ 256 MiB") else "" end),
       (if $s.sparse.extent_bytes == null then "–" else
         against($s.sparse.extent_bytes | mb; $s.sparse.extent_bytes <= 1.25e9; "≤ 1.25 GB") end)];
  row("store"; 2.5; 10; 1.5; 2.5; 6) as $store
| row("server"; 1.8; 8; 1.2; 1.8; 6) as $server
| ["partclone \\| zstd -3 -T0: \($p.capture_seconds | fixed(2)) s (synced: \($p.capture_synced_seconds | fixed(2)) s), \($p.stored_bytes | mb)",
   "the same", "–", "zstd -d \\| partclone.restore: \($p.restore_seconds | fixed(2)) s", "the same", "the same",
   "dd iflag=direct: \($p.dd_seconds | fixed(2)) s", "–", "partclone's map: \($p.sparse_bytes | mb)"] as $peer
| ["first capture", "the same disk captured again", "a second machine, same packages in another order",
   "restore onto random bytes, read back and proven", "the same without read-back",
   "restore onto a disk that already holds it, `--no-read-back`", "the same, proven", "peak memory",
   "200 GB ext4, 150 MB of files"] as $names
| .table = (["\(.machine); medians of \(.runs) paired runs", "", "| | peer | to a local store | through the server |", "|---|---|---|---|"]
    + [range(0; $names | length) as $i | "| \($names[$i]) | \($peer[$i]) | \($store[$i]) | \($server[$i]) |"] | join("\n"))
