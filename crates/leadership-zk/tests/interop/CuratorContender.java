import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.leader.Participant;
import org.apache.curator.retry.RetryForever;

/**
 * Stands in an election by a recipe of Curator, as an application does: CuratorContender latch|selector SERVER PATH ID
 *
 * <p>Prints "leading" when it leads, and "leader ID" whenever it sees another leader. Leaves when it is interrupted.
 */
public final class CuratorContender {
    private static final int SESSION_MS = 4000;
    private static final int CONNECTION_MS = 4000;
    private static final int LOOK_MS = 50;

    /** What the recipes have in common, but no interface for. */
    private interface Recipe {
        Participant leader() throws Exception;

        void leave() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder()
                .connectString(args[1])
                .sessionTimeoutMs(SESSION_MS)
                .connectionTimeoutMs(CONNECTION_MS)
                .retryPolicy(new RetryForever(LOOK_MS))
                // What the server takes for its address is not in reach outside of its container.
                .ensembleTracker(false)
                .build();
        client.start();
        Recipe recipe = args[0].equals("latch") ? latch(client, args[2], args[3]) : selector(client, args[2], args[3]);
        Thread looker = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                looker.interrupt();
                looker.join();
                recipe.leave();
            } catch (Exception e) {
                e.printStackTrace();
            }
            client.close();
        }));
        try {
            look(recipe);
        } catch (InterruptedException e) {
            // It is leaving.
        }
    }

    private static void look(Recipe recipe) throws Exception {
        String seen = "";
        while (true) {
            String leader = recipe.leader().getId();
            if (!leader.equals(seen)) {
                System.out.println("leader " + leader);
                seen = leader;
            }
            Thread.sleep(LOOK_MS);
        }
    }

    private static Recipe latch(CuratorFramework client, String path, String id) throws Exception {
        LeaderLatch latch = new LeaderLatch(client, path, id);
        latch.addListener(new LeaderLatchListener() {
            @Override
            public void isLeader() {
                System.out.println("leading");
            }

            @Override
            public void notLeader() {}
        });
        latch.start();
        return new Recipe() {
            @Override
            public Participant leader() throws Exception {
                return latch.getLeader();
            }

            @Override
            public void leave() throws Exception {
                latch.close();
            }
        };
    }

    private static Recipe selector(CuratorFramework client, String path, String id) {
        ExecutorService thread = Executors.newSingleThreadExecutor();
        LeaderSelector selector = new LeaderSelector(client, path, thread, new LeaderSelectorListenerAdapter() {
            @Override
            public void takeLeadership(CuratorFramework client) throws Exception {
                System.out.println("leading");
                // Until it is interrupted: whoever returns has resigned.
                new CountDownLatch(1).await();
            }
        });
        selector.setId(id);
        selector.start();
        return new Recipe() {
            @Override
            public Participant leader() throws Exception {
                return selector.getLeader();
            }

            @Override
            public void leave() throws Exception {
                selector.close();
                thread.shutdown();
                thread.awaitTermination(SESSION_MS, TimeUnit.MILLISECONDS);
            }
        };
    }
}
