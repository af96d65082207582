import java.io.FileInputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.jar.JarFile;
import java.util.zip.ZipInputStream;

/** Prints each file that JarFile and ZipInputStream find in each archive: reader, archive, name in hexadecimal, digest. */
public class Readers {
    public static void main(String[] archives) throws Exception {
        for (String archive : archives) {
            jarFile(archive);
            zipInputStream(archive);
        }
    }

    private static void jarFile(String archive) {
        try (JarFile jar = new JarFile(archive)) {
            for (var entry : java.util.Collections.list(jar.entries())) {
                print("JarFile", archive, entry.getName(), jar.getInputStream(entry));
            }
        } catch (Exception error) {
            System.out.println("JarFile\t" + archive + "\tFAILED\t" + error.getClass().getSimpleName());
        }
    }

    private static void zipInputStream(String archive) {
        try (ZipInputStream zip = new ZipInputStream(new FileInputStream(archive))) {
            for (var entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                print("ZipInputStream", archive, entry.getName(), zip);
            }
        } catch (Exception error) {
            System.out.println("ZipInputStream\t" + archive + "\tFAILED\t" + error.getClass().getSimpleName());
        }
    }

    private static void print(String reader, String archive, String name, InputStream data) throws Exception {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(data.readAllBytes());
        String hex = HexFormat.of().formatHex(name.getBytes(StandardCharsets.UTF_8));
        System.out.println(reader + "\t" + archive + "\t" + hex + "\t" + HexFormat.of().formatHex(digest));
    }
}
