import hex.genmodel.MojoModel;
import hex.genmodel.easy.EasyPredictModelWrapper;
import hex.genmodel.easy.RowData;
import hex.genmodel.easy.prediction.AbstractPrediction;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * h2o-genmodel under the line protocol of cenote_peers/worker.py.
 *
 * Usage: Bench score0|easy THREADS. Rows are turned into what the API takes (double[] or RowData) before the clock
 * starts; each thread keeps one array of predictions.
 */
public final class Bench {
  private static final int EASY_ROWS = 10_000; // RowData are maps: more of them would time the garbage collector

  private final MojoModel model;
  private final EasyPredictModelWrapper easy;
  private final double[][] rows;
  private final RowData[] maps;
  private final int threads;
  private final ExecutorService pool;
  private double sink;

  private Bench(String api, MojoModel model, double[][] rows, int threads) {
    this.model = model;
    this.rows = rows;
    this.threads = threads;
    this.pool = threads > 1 ? Executors.newFixedThreadPool(threads) : null;
    if (api.equals("easy")) {
      easy = new EasyPredictModelWrapper(new EasyPredictModelWrapper.Config().setModel(model)
          .setConvertUnknownCategoricalLevelsToNa(true).setConvertInvalidNumbersToNa(true));
      maps = new RowData[Math.min(rows.length, EASY_ROWS)];
      for (int i = 0; i < maps.length; i++) {
        maps[i] = new RowData();
        for (int j = 0; j < rows[i].length; j++) {
          if (Double.isNaN(rows[i][j])) continue;
          String[] domain = model.getDomainValues(j);
          maps[i].put(model.getNames()[j], domain == null ? (Object) rows[i][j] : domain[(int) rows[i][j]]);
        }
      }
    } else {
      easy = null;
      maps = null;
    }
  }

  private int available() {
    return easy == null ? rows.length : maps.length;
  }

  /** Scores rows [from, to), counted round the available ones; returns something that depends on each. */
  private double score(int from, int to) throws Exception {
    double sum = 0;
    int n = available();
    if (easy == null) {
      double[] predictions = new double[model.getPredsSize()];
      for (int i = from; i < to; i++) sum += model.score0(rows[i % n], predictions)[predictions.length - 1];
    } else {
      for (int i = from; i < to; i++) {
        AbstractPrediction p = easy.predict(maps[i % n]);
        sum += System.identityHashCode(p) & 1;
      }
    }
    return sum;
  }

  private void batch(int from, int to) throws Exception {
    if (pool == null || to - from < 2 * threads) {
      sink += score(from, to);
      return;
    }
    List<Callable<Double>> parts = new ArrayList<>();
    for (int t = 0; t < threads; t++) {
      int a = from + (int) ((long) (to - from) * t / threads), b = from + (int) ((long) (to - from) * (t + 1) / threads);
      parts.add(() -> score(a, b));
    }
    for (var part : pool.invokeAll(parts)) sink += part.get();
  }

  /** Nanoseconds since it was made: with one thread the less of the clock's and the thread's processor time. */
  private static final class Stopwatch {
    private static final ThreadMXBean CPU = ManagementFactory.getThreadMXBean();
    private final boolean alone;
    private final long cpu = CPU.getCurrentThreadCpuTime(), start = System.nanoTime();

    Stopwatch(int threads) {
      alone = threads == 1;
    }

    long clock() {
      return System.nanoTime() - start;
    }

    long read() {
      long clock = clock();
      return alone ? Math.min(clock, CPU.getCurrentThreadCpuTime() - cpu) : clock;
    }
  }

  private String time(int size, double seconds) throws Exception {
    int n = available(), at = 0;
    long done = 0, limit = (long) (seconds * 1e9);
    Stopwatch watch = new Stopwatch(threads);
    do {
      if (at + size > n && at > 0) at = 0;
      batch(at, at + size);
      at += size;
      done += size;
    } while (watch.clock() < limit);
    return watch.read() + " " + done;
  }

  private String check(int n, String out) throws Exception {
    // A label goes before the probabilities; a regression has one number, whatever the array's length.
    int first = model.nclasses() > 1 ? 1 : 0, size = model.nclasses() > 1 ? model.nclasses() + 1 : 1;
    ByteBuffer bytes = ByteBuffer.allocate(n * (size - first) * 8).order(ByteOrder.LITTLE_ENDIAN);
    double[] predictions = new double[model.getPredsSize()];
    for (int i = 0; i < n; i++) {
      model.score0(rows[i].clone(), predictions);
      for (int k = first; k < size; k++) bytes.putDouble(predictions[k]);
    }
    Files.write(Path.of(out), bytes.array());
    return "ok " + (size - first) + " predictions";
  }

  private static String timeLoad(String path, int threads, double seconds) throws Exception {
    long done = 0, limit = (long) (seconds * 1e9);
    Stopwatch watch = new Stopwatch(threads);
    do {
      MojoModel.load(path);
      done++;
    } while (watch.clock() < limit);
    return watch.read() + " " + done;
  }

  private static double[][] read(String file, int columns) throws Exception {
    try (FileChannel channel = FileChannel.open(Path.of(file), StandardOpenOption.READ)) {
      FloatBuffer floats = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size())
          .order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
      double[][] rows = new double[floats.capacity() / columns][columns];
      for (double[] row : rows) for (int j = 0; j < columns; j++) row[j] = floats.get();
      return rows;
    }
  }

  private void close() {
    if (pool != null) pool.shutdown();
    if (sink == 42) System.err.println(); // so that no score is thought unused
  }

  public static void main(String[] arguments) throws Exception {
    String api = arguments[0], path = null;
    int threads = Integer.parseInt(arguments[1]);
    Bench bench = null;
    System.out.println("ready");
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = in.readLine()) != null; ) {
      String[] words = line.split("\t");
      try {
        System.out.println(switch (words[0]) {
          case "open" -> {
            if (bench != null) bench.close();
            bench = null; // its rows are freed before the next are read
            path = words[1];
            bench = new Bench(api, MojoModel.load(path), read(words[2], Integer.parseInt(words[3])), threads);
            yield "ok";
          }
          case "check" -> bench.check(Integer.parseInt(words[1]), words[2]);
          case "time" -> bench.time(Integer.parseInt(words[1]), Double.parseDouble(words[2]));
          case "load" -> timeLoad(path, threads, Double.parseDouble(words[1]));
          case "first" -> timeLoad(words[1], threads, 0);
          default -> throw new IllegalArgumentException(line);
        });
      } catch (Exception error) {
        System.out.println("error " + error.toString().replace('\n', ' '));
      }
    }
    if (bench != null) bench.close();
  }
}
